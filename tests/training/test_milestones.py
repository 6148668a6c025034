"""When a run validates and saves, beside mmcv's own hooks, and what it says at its end."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from modelscope_beit.errors import BeitError
from modelscope_beit.training import milestones
from modelscope_beit.training.finetune import finetune
from training_jobs import configuration, make_job, weights_of


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.pth")} - {"latest.pth"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"checkpoint_config": {"interval": 2}, "max_epochs": 5}, {"epoch_2.pth", "epoch_4.pth", "epoch_5.pth"}),
        ({"checkpoint_config": {"interval": 2, "save_last": False}, "max_epochs": 3}, {"epoch_2.pth"}),
        ({"checkpoint_config": {"interval": 1, "max_keep_ckpts": 1}}, {"epoch_3.pth"}),
        (
            {"checkpoint_config": {"interval": 4, "by_epoch": False}, "max_epochs": 2},
            {"iter_4.pth", "iter_8.pth", "iter_12.pth"},
        ),
    ],
)
def test_checkpoints__come_when_mmcvs_hook_saves_them(
    tmp_path: Path, changes: dict[str, Any], expected: set[str]
) -> None:
    finetune(make_job(tmp_path / "run", configuration(changes | {"evaluation": {"interval": 99}})))
    assert checkpoints(tmp_path / "run") == expected


def test_evaluation__starts_and_repeats_as_told(tmp_path: Path) -> None:
    evaluation = {"interval": 2, "start": 2, "metric": "accuracy", "save_best": "auto"}
    finetune(make_job(tmp_path / "run", configuration({"max_epochs": 5, "evaluation": evaluation})))
    log = (tmp_path / "run" / "20260101_000000.log.json").read_text()
    assert [number for number in range(1, 6) if f'"mode": "val", "epoch": {number},' in log] == [2, 4]


def test_best__a_score_of_zero_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milestones, "metrics_of", lambda *_: {"accuracy_top-1": 0.0})
    result = finetune(make_job(tmp_path / "run", configuration({"max_epochs": 2})))
    assert result.best_checkpoint == tmp_path / "run" / "best_accuracy_top-1_epoch_1.pth"
    assert (tmp_path / "run" / "output" / "configuration.json").exists()


def test_output__holds_the_best_weights_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([10.0, 30.0, 20.0])
    monkeypatch.setattr(milestones, "metrics_of", lambda *_: {"accuracy_top-1": next(scores)})
    finetune(make_job(tmp_path / "run"))
    best, last = (weights_of(tmp_path / "run" / f"epoch_{number}.pth") for number in (2, 3))
    written = weights_of(tmp_path / "run" / "output" / "pytorch_model.pt")
    assert all(torch.equal(written[name], best[name]) for name in best)
    assert not all(torch.equal(written[name], last[name]) for name in last)


def test_output__without_validation_holds_the_newest_weights(tmp_path: Path) -> None:
    result = finetune(make_job(tmp_path / "run", num_validation=0))
    last = weights_of(tmp_path / "run" / "epoch_3.pth")
    written = weights_of(tmp_path / "run" / "output" / "pytorch_model.pt")
    assert all(torch.equal(written[name], last[name]) for name in last)
    assert result.best_checkpoint is None


def scored(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Lets each evaluation have the next of these results."""
    rest = iter(scores)
    monkeypatch.setattr(milestones, "metrics_of", lambda *_: {"accuracy_top-1": next(rest)})


PATIENT = {"max_epochs": 9, "early_stopping": {"patience": 2}}


def test_early_stopping__ends_the_run_with_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, [10.0, 30.0, 30.0, 20.0])
    run = tmp_path / "run"
    result = finetune(make_job(run, configuration(PATIENT)))
    assert (result.epochs, result.iterations, result.was_interrupted) == (4, 24, False)
    reason = "Stopped early after iteration 24 of 54: accuracy_top-1 was not better than 30.0000 in the last 2"
    assert result.stopped_early.startswith(reason)
    best, output = weights_of(run / "epoch_2.pth"), weights_of(run / "output" / "pytorch_model.pt")
    assert all(torch.equal(output[name], best[name]) for name in best)
    assert result.best_checkpoint == run / "best_accuracy_top-1_epoch_2.pth"
    assert checkpoints(run) == {*(f"epoch_{number}.pth" for number in range(1, 5)), "best_accuracy_top-1_epoch_2.pth"}
    record = json.loads((run / "run.json").read_text())
    assert record["is_finished"] and record["stopped_early"] == result.stopped_early
    assert reason in (run / "20260101_000000.log").read_text()
    assert reason.replace("_", "\\_") in (run / "output" / "README.md").read_text()
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["stopped_early"] for row in rows] == ["", "", "", "true"]


def test_early_stopping__counts_on_after_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit what an uninterrupted run leaves, wherever it paused, in the very stop too."""
    scores = [10.0, 30.0, 30.0, 20.0]
    scored(monkeypatch, scores)
    steady = PATIENT | {"lr_config": {"policy": "fixed"}}
    whole = finetune(make_job(tmp_path / "whole", configuration(steady)))
    for pause in (3, 4):
        run = tmp_path / f"pause {pause}"
        scored(monkeypatch, scores)
        finetune(make_job(run, configuration(steady | {"max_epochs": pause})))
        scored(monkeypatch, scores[pause:])
        parts = finetune(make_job(run, configuration(steady | {"resume_from": str(run)})))
        assert (parts.iterations, parts.stopped_early) == (whole.iterations, whole.stopped_early)
        ends = [weights_of(result.checkpoint) for result in (whole, parts) if result.checkpoint]
        assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
        assert parts.best_metrics == whole.best_metrics == {"accuracy_top-1": 30.0}


def test_early_stopping__goes_on_if_it_is_to_wait_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    scored(monkeypatch, [30.0, 20.0, 20.0])
    assert finetune(make_job(run, configuration(PATIENT))).epochs == 3
    scored(monkeypatch, [20.0, 40.0, 20.0, 20.0, 20.0, 20.0])
    patient = PATIENT | {"early_stopping": {"patience": 4}, "resume_from": str(run)}
    result = finetune(make_job(run, configuration(patient)))
    assert (result.epochs, result.best_metrics) == (9, {"accuracy_top-1": 40.0})
    assert "stopped_early" not in (run / "metrics.csv").read_text()


def test_early_stopping__the_end_that_was_planned_is_not_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, [30.0, 20.0, 20.0])
    result = finetune(make_job(tmp_path / "run", configuration(PATIENT | {"max_epochs": 3})))
    assert (result.epochs, result.stopped_early) == (3, "")


def test_early_stopping__in_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, [30.0, 20.0, 20.0])
    evaluation = {"interval": 4, "metric": "accuracy", "save_best": "auto"}
    runner = {"type": "IterBasedRunner", "max_iters": 40}
    changes = PATIENT | {"max_epochs": None, "runner": runner, "evaluation": evaluation, "checkpoint_config": None}
    result = finetune(make_job(tmp_path / "run", configuration(changes)))
    assert result.iterations == 12
    assert result.best_checkpoint == tmp_path / "run" / "best_accuracy_top-1_iter_4.pth"
    assert checkpoints(tmp_path / "run") == {"best_accuracy_top-1_iter_4.pth"}
    assert Image.open(tmp_path / "run" / "curves.png").size == (1200, 900)


def test_workflow__with_a_validation_phase_logs_its_loss(tmp_path: Path) -> None:
    workflow = [["train", 1], ["val", 1]]
    finetune(make_job(tmp_path / "run", configuration({"max_epochs": 1, "workflow": workflow})))
    assert '"loss"' in (tmp_path / "run" / "20260101_000000.log.json").read_text().splitlines()[-1]


def test_full_disk__ends_the_run_and_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, count = torch.save, 0

    def fill(content: Any, path: Any) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        save(content, path)

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(BeitError, match="No space left"):
        finetune(make_job(tmp_path / "run"))
    monkeypatch.undo()
    assert weights_of(tmp_path / "run" / "latest.pth")
    assert weights_of(tmp_path / "run" / "output" / "pytorch_model.pt")
