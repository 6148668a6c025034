"""`beit resume`: what it hands on, and what it says where there is nothing to go on with."""

from pathlib import Path
from typing import Any

import pytest

import training_jobs
from modelscope_beit.__main__ import main
from modelscope_beit.commands import training_view
from modelscope_beit.training import reopening


def test_resume__hands_on_the_folder_and_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def resume_job(run: Path, overrides: list[str], *, timestamp: str) -> str:
        asked.append((run, overrides))
        return "the job"

    def train_and_tell(job: str, *, is_dry_run: bool) -> int:
        asked.append((job, is_dry_run))
        return 130

    monkeypatch.setattr(reopening, "resume_job", resume_job)
    monkeypatch.setattr(training_view, "train_and_tell", train_and_tell)
    assert main(["resume", str(tmp_path), "--set", "epochs=4", "--set", "lr=1e-5", "--dry-run"]) == 130
    assert asked == [(tmp_path, ["epochs=4", "lr=1e-5"]), ("the job", True)]


def test_resume__of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_resume__of_a_scripts_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = training_jobs.make_job(tmp_path / "run", training_jobs.configuration({"max_epochs": 1}))
    assert training_view.finetune(job).epochs == 1
    assert main(["resume", str(tmp_path / "run"), "--set", "epochs=2"]) == 2
    assert "resume_from=" in capsys.readouterr().err


def test_resume__help_lists_the_short_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["resume", "--help"])
    output = capsys.readouterr().out
    assert "beit resume runs/photos" in output
    assert "weight_decay=" in output
