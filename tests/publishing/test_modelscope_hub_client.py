"""The real client of the ModelScope hub against a hub on the loopback device."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelscope_hub import _legacy_api, _openapi, _upload
from modelscope_hub.config import HubConfig

import hub_server
from hub_server import PRIVATE, PUBLIC, TOKEN, Fault, Hub, Repository
from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing import modelscope_hub_client, refusals
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.uploading import Uploaded, upload

TO = Destination("modelscope", "someone/pets")
WEIGHTS = bytes(range(256)) * 4096
CARD = "---\nlicense: mit\n---\nA model.\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_server.running_hub() as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    (folder / "resources").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "configuration.json").write_text("{}")
    (folder / "pytorch_model.pt").write_bytes(WEIGHTS)
    (folder / "resources" / "a [1].png").write_bytes(b"\x89PNG" + bytes(100))
    return folder


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that anybody would have slept, instead of sleeping."""
    seconds: list[float] = []
    for module in (_upload, _openapi, _legacy_api, refusals, modelscope_hub_client):
        monkeypatch.setattr(module, "time", _Clock(seconds))
    return seconds


class _Clock:
    def __init__(self, seconds: list[float]) -> None:
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        self._seconds.append(seconds)


def send(folder: Path, **options: Any) -> Uploaded:
    keywords = {"token": None, "private": True, "tag": None, "message": "As told", "progress": lambda sent, of: None}
    return upload(folder, options.pop("to", TO), **(keywords | options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_upload__makes_the_repository_sends_all_and_tags(hub: Hub, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    before = contents(folder)
    done = send(folder, tag="v1.0", progress=lambda sent, of: told.append((sent, of)))
    repository = hub.repositories["someone/pets"]
    assert repository.branches == {"master": before}
    assert repository.tags == {"v1.0": before}
    assert (repository.visibility, repository.license) == (PRIVATE, "mit")
    assert "As told" in repository.messages[0]
    assert done == Uploaded(f"{hub.address}/models/someone/pets", "master", tuple(sorted(before)), (), (), "v1.0")
    assert contents(folder) == before, "nothing is kept in the folder"
    total = sum(map(len, before.values()))
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)
    assert len(told) > 10, "the large file is told piece by piece"


def test_upload__public_where_asked_for(hub: Hub, folder: Path) -> None:
    send(folder, private=False)
    assert hub.repositories["someone/pets"].visibility == PUBLIC
    assert hub.asked("POST /api/v1/models$") == 1, "no second asking, which would make a public one where none is"


def test_upload__sends_only_what_differs_and_tells_the_rest(
    hub: Hub, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    send(folder)
    hub.repositories["someone/pets"].branches["master"]["old.bin"] = b"old"
    (folder / "README.md").write_text(CARD + "More.\n")
    os.utime(folder / "pytorch_model.pt")
    hub.requests.clear()
    done = send(folder)
    assert done.files_new == ("README.md",)
    assert set(done.files_same) == {"configuration.json", "pytorch_model.pt", "resources/a [1].png"}
    assert done.files_left == ("old.bin",)
    assert "old.bin" in caplog.text
    assert hub.asked("PUT") == 0
    assert hub.repositories["someone/pets"].branches["master"]["README.md"].endswith(b"More.\n")
    hub.requests.clear()
    assert send(folder).files_new == ()
    assert hub.asked("POST") == 0


def test_upload__another_branch_and_a_repository_made_anew_get_everything(hub: Hub, folder: Path) -> None:
    send(folder)
    done = send(folder, to=Destination("modelscope", "someone/pets", "dev"))
    assert (done.revision, len(done.files_new)) == ("dev", 4)
    assert hub.repositories["someone/pets"].branches["dev"] == contents(folder)
    hub.repositories.clear()
    assert len(send(folder).files_new) == 4
    assert hub.repositories["someone/pets"].branches["master"] == contents(folder)


def test_upload__a_tag_that_means_something_else_stops_before_anything_leaves(hub: Hub, folder: Path) -> None:
    send(folder, tag="v1.0")
    assert send(folder, tag="v1.0").tag == "v1.0", "the same again is no mistake"
    (folder / "README.md").write_text("other")
    hub.requests.clear()
    with pytest.raises(PublishingError, match="has the tag v1.0 already"):
        send(folder, tag="v1.0")
    assert hub.asked("POST|PUT") == 0
    with pytest.raises(PublishingError, match="name of a branch"):
        send(folder, tag="master")


def test_upload__nothing_private_goes_to_a_public_repository(
    hub: Hub, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.repositories["someone/pets"] = Repository(PUBLIC, "mit")
    with pytest.raises(PublishingError, match="is public, but this is to be private; nothing was sent"):
        send(folder)
    assert hub.asked("POST|PUT") == 0
    hub.repositories["someone/pets"].visibility = PRIVATE
    send(folder, private=False)
    assert "stays so" in caplog.text


def test_upload__without_a_token_asks_nobody(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELSCOPE_API_TOKEN")
    with pytest.raises(PublishingError, match="set MODELSCOPE_API_TOKEN, or log in once with `modelscope login`"):
        send(folder)
    assert hub.requests == []


def test_upload__takes_the_stored_login_and_a_token_that_is_given(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELSCOPE_API_TOKEN")
    HubConfig(endpoint=hub.address).save_token(TOKEN)
    assert len(send(folder).files_new) == 4
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "another")
    assert len(send(folder, token=TOKEN).files_same) == 4


@pytest.mark.parametrize(
    ("at", "doing"),
    [
        ("GET /openapi", "opening"),
        ("POST /api/v1/models$", "opening"),
        ("objects/batch", "sending"),
        ("commit", "sending"),
    ],
)
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, r"does not accept the token.*my/myaccesstoken and set MODELSCOPE_API_TOKEN.*modelscope login"),
        (403, r"may not write there. Check that someone is your user name"),
        (409, r"changed the repository meanwhile.*not sent again"),
    ],
)
def test_upload__refused(
    hub: Hub, folder: Path, waits: list[float], at: str, doing: str, status: int, advice: str
) -> None:
    hub.faults.append(Fault(at, status, times=99))
    with pytest.raises(PublishingError, match=advice) as caught:
        send(folder)
    assert f"{TO}: {doing}" in str(caught.value)
    assert f"the hub answered {status} (because the test says so)" in str(caught.value)
    assert not waits, "asking again would not help"


def test_upload__too_many_requests_waits_as_long_as_the_hub_says(hub: Hub, folder: Path, waits: list[float]) -> None:
    wait = {"Retry-After": "7"}
    for at in ("GET /openapi", "POST /api/v1/models$", "objects/batch", "PUT", "commit", "repo/tag"):
        hub.faults.append(Fault(at, 429, wait, times=1))
    send(folder, tag="v1")
    assert waits.count(7) == 6
    assert hub.repositories["someone/pets"].tags["v1"] == contents(folder)


@pytest.mark.parametrize("at", ["GET /openapi", "POST /api/v1/models$", "objects/batch", "PUT", "commit", "repo/tag"])
def test_upload__a_passing_failure_of_the_server_is_overcome(
    hub: Hub, folder: Path, waits: list[float], at: str
) -> None:
    hub.faults.append(Fault(at, 500, times=2))
    send(folder, tag="v1")
    assert hub.repositories["someone/pets"].tags["v1"] == contents(folder)


@pytest.mark.parametrize(
    ("status", "advice"),
    [(429, "Publish again in 7 s; what is there is not sent"), (500, "does not answer as it should")],
)
def test_upload__a_lasting_failure_is_told(
    hub: Hub, folder: Path, waits: list[float], status: int, advice: str
) -> None:
    hub.faults.append(Fault("commit", status, {"Retry-After": "7"}, times=999))
    with pytest.raises(PublishingError, match=advice):
        send(folder)
    assert sum(waits) < 400
    hub.faults.clear()
    hub.received.clear()
    send(folder)
    assert hub.received == {}, "the weights had arrived"


def test_upload__a_connection_cut_in_the_middle_of_a_file_is_overcome(
    hub: Hub, folder: Path, waits: list[float]
) -> None:
    told: list[int] = []
    hub.faults.append(Fault("PUT", cut_after=len(WEIGHTS) // 2, times=2))
    send(folder, progress=lambda sent, of: told.append(sent))
    assert hub.repositories["someone/pets"].branches["master"] == contents(folder)
    assert max(told) == told[-1] == sum(map(len, contents(folder).values()))
    assert any(later < earlier for earlier, later in zip(told, told[1:], strict=False)), "what was lost is not counted"


def test_upload__a_connection_that_is_always_cut_is_told_and_goes_on_later(
    hub: Hub, folder: Path, waits: list[float]
) -> None:
    hub.faults.append(Fault("PUT", cut_after=1000, times=999))
    with pytest.raises(PublishingError, match="no answer came.*what is there is not sent again"):
        send(folder)
    assert hub.repositories["someone/pets"].branches["master"] == {}, "no half of a model is to be seen"
    hub.faults.clear()
    assert "pytorch_model.pt" in send(folder).files_new
    assert hub.repositories["someone/pets"].branches["master"] == contents(folder)


def test_upload__a_hub_that_keeps_silent_is_asked_again(
    hub: Hub, folder: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelscope_hub_client, "_BLOB_TIMEOUT_SECONDS", (1, 0.3))
    hub.faults.append(Fault("PUT", stall_seconds=1.0, times=1))
    send(folder)
    assert hub.asked("PUT") == 2
    assert hub.repositories["someone/pets"].branches["master"] == contents(folder)


def test_upload__new_class_names_never_stand_beside_old_weights(hub: Hub, folder: Path, waits: list[float]) -> None:
    send(folder)
    before = contents(folder)
    (folder / "pytorch_model.pt").write_bytes(WEIGHTS[::-1])
    (folder / "configuration.json").write_text('{"classes": 2}')
    hub.faults.append(Fault("PUT", 500, times=999))
    with pytest.raises(PublishingError, match="the hub answered 500"):
        send(folder)
    branches = hub.repositories["someone/pets"].branches
    assert branches["master"] == before
    hub.faults[:] = [Fault("PUT", 500, times=8)]
    send(folder)
    assert branches["master"] == contents(folder)
    assert len(hub.repositories["someone/pets"].messages) == 2


def test_upload__tells_what_stopped_it_and_not_what_was_overcome(hub: Hub, folder: Path, waits: list[float]) -> None:
    hub.faults.append(Fault("PUT", 500, times=1))
    (folder / "second.bin").write_bytes(WEIGHTS[::-1])
    with pytest.raises(PublishingError, match="it stopped on this machine"):
        send(folder, progress=lambda sent, of: (folder / "README.md").unlink(missing_ok=True) if sent else None)


def test_upload__ends_soon_when_it_is_interrupted(hub: Hub, folder: Path) -> None:
    for number in range(30):
        (folder / f"{number}.bin").write_bytes(bytes([number]) + WEIGHTS)
    hub.faults.append(Fault("PUT", stall_seconds=0.5, times=99))

    def interrupt() -> None:
        assert hub.stalled.wait(30)
        signal.pthread_kill(main.ident or 0, signal.SIGINT)

    main = threading.main_thread()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        send(folder)
    assert 0 < hub.asked("PUT") < 30, "what was in line stays there"
    assert hub.repositories["someone/pets"].branches["master"] == {}
    hub.faults.clear()
    send(folder)
    assert hub.repositories["someone/pets"].branches["master"] == contents(folder)


def test_upload__goes_on_after_it_was_killed_in_the_middle_of_a_file(hub: Hub, folder: Path, tmp_path: Path) -> None:
    other = bytes(reversed(range(256))) * 4096
    (folder / "second.bin").write_bytes(other)
    hub.faults.append(Fault("PUT .*" + _digest(other), stall_seconds=60))
    before = contents(folder)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert hub.stalled.wait(60)
    while _digest(WEIGHTS) not in hub.blobs:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    assert TOKEN not in str(child.stdout.read() if child.stdout else "")
    assert contents(folder) == before
    assert hub.repositories["someone/pets"].branches["master"] == {}, "no half of a model is to be seen"
    hub.received.clear()
    send(folder)
    assert list(hub.received) == [f"/lfs/{_digest(other)}"], "what had arrived is not sent again"
    assert hub.repositories["someone/pets"].branches["master"] == before


_CHILD = """
import sys
from pathlib import Path
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.uploading import upload
upload(Path(sys.argv[1]), Destination("modelscope", "someone/pets"), token=None, private=True, tag=None,
       message="", progress=lambda sent, of: None)
"""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
