"""The real client of the Hugging Face hub against a hub on the loopback device, without xet."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

import hub_server
from hub_server import PRIVATE, Fault, Hub
from huggingface_server import HF_TOKEN, HuggingFaceAnswering
from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing import refusals
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.uploading import Uploaded, upload

TO = Destination("huggingface", "someone/pets")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_server.running_hub(HuggingFaceAnswering) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
        # Read from the environment when the client is imported.
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no_login"))
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1024)
    return folder


def send(folder: Path, **options: Any) -> Uploaded:
    keywords = {"token": None, "private": True, "tag": None, "message": "As told", "progress": lambda sent, of: None}
    return upload(folder, options.pop("to", TO), **(keywords | options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_upload__makes_the_repository_sends_all_and_tags(hub: Hub, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    done = send(folder, tag="v1.0", progress=lambda sent, of: told.append((sent, of)))
    repository = hub.repositories["someone/pets"]
    assert repository.visibility == PRIVATE
    assert repository.messages == ["As told"]
    assert {**contents(folder), ".gitattributes": b"*.pt filter=lfs"} == repository.tags["v1.0"]
    assert done == Uploaded(f"{hub.address}/someone/pets", "main", tuple(sorted(contents(folder))), (), (), "v1.0")
    total = sum(map(len, contents(folder).values()))
    assert told[0] == (0, total)
    assert told[-1] == (total, total)


def test_upload__again_sends_only_what_differs(hub: Hub, folder: Path) -> None:
    send(folder)
    (folder / "config.json").write_text("{ }")
    hub.requests.clear()
    done = send(folder, tag="v2")
    assert done.files_new == ("config.json",)
    assert done.files_same == ("README.md", "model.safetensors")
    assert hub.asked("PUT") == 0
    assert hub.repositories["someone/pets"].branches["main"]["config.json"] == b"{ }"
    with pytest.raises(PublishingError, match="tag v2 already"):
        (folder / "config.json").write_text("[]")
        send(folder, tag="v2")


def test_upload__a_branch_that_is_missing_is_made(hub: Hub, folder: Path) -> None:
    send(folder, to=Destination("huggingface", "someone/pets", "dev"))
    branches = hub.repositories["someone/pets"].branches
    assert "model.safetensors" in branches["dev"]
    assert "model.safetensors" not in branches["main"]


def test_upload__with_a_refused_token(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_outdated")
    with pytest.raises(PublishingError, match=r"does not accept the token.*set HF_TOKEN.*hf auth login") as caught:
        send(folder)
    assert "hf_outdated" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    hub.requests.clear()
    with pytest.raises(PublishingError, match="no token for huggingface:someone/pets"):
        send(folder)
    assert hub.requests == []


def test_upload__in_offline_mode_says_so_at_once(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(refusals.time, "sleep", lambda seconds: pytest.fail("asking again does not help"))
    with pytest.raises(PublishingError, match="unset the `HF_HUB_OFFLINE`"):
        send(folder)


@pytest.mark.parametrize("at", ["repos/create", "commit", "PUT"])
def test_upload__forbidden(hub: Hub, folder: Path, at: str) -> None:
    hub.faults.append(Fault(at, 403, times=99))
    with pytest.raises(PublishingError, match="the hub answered 403.*may not write there"):
        send(folder)


def test_upload__what_is_there_but_may_not_be_seen_is_not_taken_for_missing(hub: Hub, folder: Path) -> None:
    hub.faults.append(Fault("GET /api/models", 403, {"X-Error-Code": "GatedRepo"}, times=99))
    with pytest.raises(PublishingError, match="the hub answered 403"):
        send(folder)
    assert hub.asked("POST|PUT") == 0


def test_upload__taken_meanwhile(hub: Hub, folder: Path) -> None:
    hub.faults.append(Fault("commit", 409, times=99))
    with pytest.raises(PublishingError, match="the hub answered 409.*Publish again"):
        send(folder)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that anybody would have slept, instead of sleeping."""
    seconds: list[float] = []
    monkeypatch.setattr(refusals.time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize("at", ["pets$", "branch", "revision", "refs", "batch", "PUT", "commit", "tag"])
def test_upload__a_passing_failure_of_the_server_is_overcome(
    hub: Hub, folder: Path, at: str, waits: list[float]
) -> None:
    hub.faults.append(Fault(at, 503, times=2))
    send(folder, to=Destination("huggingface", "someone/pets", "dev"), tag="v1")
    assert "model.safetensors" in hub.repositories["someone/pets"].tags["v1"]
    assert waits


def test_upload__a_connection_cut_in_the_middle_of_a_file_is_overcome(
    hub: Hub, folder: Path, waits: list[float]
) -> None:
    hub.faults.append(Fault("PUT", cut_after=1000, times=2))
    send(folder)
    assert hub.repositories["someone/pets"].branches["main"].items() >= contents(folder).items()
    assert hub.asked("PUT") == 3 and waits


@pytest.mark.parametrize("at", ["repos/create", "commit", "PUT"])
def test_upload__too_many_requests_waits_as_long_as_the_hub_says(
    hub: Hub, folder: Path, at: str, waits: list[float]
) -> None:
    hub.faults.append(Fault(at, 429, {"Retry-After": "7"}, times=1))
    send(folder)
    assert sum(waits) >= 1, "the client itself asks again for large files, by its own clock"
    assert "model.safetensors" in hub.repositories["someone/pets"].branches["main"]


def test_upload__in_a_process_of_its_own_by_the_environment_alone(hub: Hub, folder: Path) -> None:
    environment = os.environ | {"HF_HUB_VERBOSITY": "debug", "HF_DEBUG": "1", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert HF_TOKEN not in done.stdout + done.stderr
    assert "model.safetensors" in hub.repositories["someone/pets"].branches["main"]


_CHILD = """
import logging, sys
from pathlib import Path
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.uploading import upload
logging.basicConfig(level=logging.DEBUG)
upload(Path(sys.argv[1]), Destination("huggingface", "someone/pets"), token=None, private=True, tag=None,
       message="first", progress=lambda sent, of: None)
"""
