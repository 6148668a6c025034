"""What `train` and `resume` print at the end, and who prints it."""

from dataclasses import replace
from pathlib import Path

import pytest

import training_jobs
from modelscope_beit.commands import training_view
from modelscope_beit.commands.training_view import train_and_tell
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.job import TrainingJob, TrainingResult


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return training_jobs.make_job(tmp_path / "run", training_jobs.configuration({"max_epochs": 1}))


def test_train_and_tell__without_validation_data(job: TrainingJob, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_and_tell(replace(job, validation=None), is_dry_run=False) == 0
    output = capsys.readouterr().out
    assert "Trained for 1 epochs" in output and "beit predict" in output
    assert "Result" not in output and "Report" not in output


def test_train_and_tell__after_an_interruption(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(job: TrainingJob) -> TrainingResult:
        return replace(finetune(job), was_interrupted=True)

    monkeypatch.setattr(training_view, "finetune", stop)
    assert train_and_tell(job, is_dry_run=False) == 130
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("is_dry_run", [True, False])
def test_train_and_tell__one_process_speaks(
    job: TrainingJob, is_dry_run: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert train_and_tell(job, is_dry_run=is_dry_run) == 0
    assert capsys.readouterr().out == ""
