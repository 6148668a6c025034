"""The same content by what hubs tell; git's own digest is the oracle of one, sha256sum's of the other."""

import subprocess
from pathlib import Path

import pytest

from modelscope_beit.publishing.hub_file import HubFile


@pytest.mark.parametrize("content", [b"", b"weights", bytes(range(256)) * 10_000])
def test_has_content_of__by_each_digest(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    git_id = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True).stdout.strip()
    sha256 = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    size = len(content)
    assert HubFile(size, sha256=sha256).has_content_of(path)
    assert HubFile(size, git_id=git_id).has_content_of(path)
    assert HubFile(size, sha256=sha256, git_id="of a pointer").has_content_of(path)
    assert not HubFile(size, sha256="0" * 64, git_id=git_id).has_content_of(path)
    assert not HubFile(size, git_id="0" * 40).has_content_of(path)
    assert not HubFile(size + 1, sha256=sha256).has_content_of(path)
    assert not HubFile(size).has_content_of(path), "nothing is proven"
