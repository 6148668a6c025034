"""What is in a staged folder."""

import hashlib
from pathlib import Path

from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.staged_folder import Check, StagedFolder, digests_below, files_below


def test_files_below__are_named_with_slashes_and_counted(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "a.png").write_bytes(b"123")
    (tmp_path / "README.md").write_bytes(b"12345")
    files = files_below(tmp_path)
    assert files == {"README.md": 5, "resources/a.png": 3}
    staged = StagedFolder(tmp_path, Destination("modelscope", "a/b"), files, {}, (Check("size", "", True),))
    assert (staged.size, staged.is_right) == (8, True)
    wrong = StagedFolder(tmp_path, staged.destination, files, {}, (*staged.checks, Check("code", "a pickle", False)))
    assert not wrong.is_right


def test_digests_below__tell_files_of_the_same_size_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").write_bytes(b"124")
    expected = {name: "sha256:" + hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a", "b")}
    assert digests_below(tmp_path) == expected
