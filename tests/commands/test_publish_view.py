"""Tables and the progress of publishing."""

from pathlib import Path

import pytest

from modelscope_beit.commands import publish_view
from modelscope_beit.commands.publish_view import UploadProgress, show_staged, show_uploaded
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.staged_folder import Check, StagedFolder
from modelscope_beit.publishing.uploading import Uploaded


def test_show_staged__lists_files_and_checks(capsys: pytest.CaptureFixture[str]) -> None:
    files = {"README.md": 1234, "resources/[x].png": 5}
    checks = (Check("code", "none found", True), Check("secrets", "a token", False))
    show_staged(StagedFolder(Path("out"), Destination("modelscope", "me/pets"), files, {}, checks))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == ["out for modelscope:me/pets", "1,234 README.md", "5 resources/[x].png", "1,239 bytes in all"]
    assert lines[5:] == ["right code none found", "WRONG secrets a token", "Nothing was sent."]


def test_show_uploaded__tells_only_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    sent = tuple(f"{number}.png" for number in range(7))
    show_uploaded(Uploaded("https://example.org/me/pets", "master", sent, ("README.md",)))
    out = capsys.readouterr().out
    assert "https://example.org/me/pets" in out and "7 files: 0.png" in out and "4.png, ..." in out
    assert "1 file: README.md" in out and "tag" not in out and "only on the hub" not in out


def test_upload_progress__says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    with UploadProgress() as progress:
        progress.advance(1, 100)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(publish_view, "_SECONDS_BETWEEN_LINES", 0.0)
    with UploadProgress() as progress:
        progress.advance(0, 2_000_000)
        progress.advance(1_000_000, 2_000_000)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("0 of 2,000,000 bytes") and "1,000,000 of 2,000,000 bytes" in second and "left" in second
