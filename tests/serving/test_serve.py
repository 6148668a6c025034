"""The function behind the command: what it asks for, and which way it goes."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.errors import MissingPackageError
from modelscope_beit.serving import processes, threads
from modelscope_beit.serving.serve import serve
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.settings.serving import ServingSettings


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(processes, "serve_with_processes", lambda *_: found.append("processes"))
    monkeypatch.setattr(threads, "serve_with_a_thread", lambda *_: found.append("a thread"))
    return found


@pytest.mark.parametrize(("platform", "way"), [("linux", "processes"), ("darwin", "a thread"), ("win32", "a thread")])
def test_serve__forks_where_a_fork_is_safe(
    platform: str, way: str, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    serve(ServedModel(Path("model")), ServingSettings())
    assert ways == [way]


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"host": "127.0.0.1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "0.0.0.0", "token": "secret"}, False),
        ({"host": "10.0.0.7"}, True),
    ],
)
def test_serve__warns_of_a_door_without_a_lock(
    settings: dict[str, Any], warns: bool, ways: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        serve(ServedModel(Path("model")), ServingSettings(**settings))
    assert ("no token" in caplog.text) == warns
    assert "secret" not in caplog.text


def test_serve__names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    with pytest.raises(MissingPackageError, match=r"modelscope-beit\[serve\]"):
        serve(ServedModel(Path("model")), ServingSettings())
