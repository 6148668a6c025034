"""Where the token is not, after everything that can be said and written was said and written."""

import io
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import hub_server
from hub_server import TOKEN, Fault, Hub, Repository
from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.uploading import upload

TO = Destination("modelscope", "someone/pets")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.running_hub() as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: Apache License 2.0 # of the data\n---\nlicense: no\n")
    (folder / "weights.bin").write_bytes(bytes(100_000))
    return folder


_CHILD = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.uploading import upload
for private in (True, False, True):
    upload(Path(sys.argv[1]), Destination("modelscope", "someone/pets"), token=None, private=private, tag="v1",
           message="first", progress=lambda sent, of: None)
"""


@pytest.mark.parametrize("accepted", [True, False])
def test_upload__says_and_writes_the_token_nowhere(hub: Hub, folder: Path, tmp_path: Path, accepted: bool) -> None:
    """At DEBUG, for a hub that takes the token, and for one that repeats a refused one in its answer."""
    token = TOKEN if accepted else "ms-99999999-2222-3333-4444-555555555555"
    hub.faults.append(Fault("PUT", cut_after=10, times=1))
    environment = os.environ | {
        "MODELSCOPE_ENDPOINT": hub.address,
        "MODELSCOPE_API_TOKEN": token,
        "MODELSCOPE_LOG_LEVEL": "DEBUG",
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    environment.pop("MODELSCOPE_HOME", None)
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert (done.returncode == 0) is accepted, done.stderr
    assert ("does not accept the token" in done.stderr) is not accepted
    assert "modelscope_hub" in done.stderr, "the client did speak"
    assert done.stdout == "", "standard output belongs to the caller"
    assert token not in done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(token.encode() not in path.read_bytes() for path in written), written
    assert {path.name for path in folder.iterdir()} == {"README.md", "weights.bin"}
    if accepted:
        assert hub.repositories["someone/pets"].license == "apache-2.0", "as the client spells what the card says"


def test_upload__quotes_a_hub_that_repeats_the_token_without_it(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    hub.repositories["someone/pets"] = Repository(hub_server.PRIVATE, "")
    spoken, refused = io.StringIO(), "ms-refused"
    handler = logging.StreamHandler(spoken)
    logger = logging.getLogger("modelscope_hub")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(PublishingError, match=r"known by Bearer \*\*\*") as caught:
            upload(folder, TO, token=refused, private=True, tag=None, message="", progress=lambda sent, of: None)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert "Bearer ***" in spoken.getvalue()
    assert refused not in spoken.getvalue() + "".join(traceback.format_exception(caught.value))
