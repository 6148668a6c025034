"""When a run validates and saves, beside mmcv's own hooks, and what it says at its end."""

from pathlib import Path
from typing import Any

import pytest
import torch

from modelscope_beit.errors import BeitError
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
    from modelscope_beit.training import milestones

    monkeypatch.setattr(milestones, "metrics_of", lambda *_: {"accuracy_top-1": 0.0})
    result = finetune(make_job(tmp_path / "run", configuration({"max_epochs": 2})))
    assert result.best_checkpoint == tmp_path / "run" / "best_accuracy_top-1_epoch_1.pth"
    assert (tmp_path / "run" / "output" / "configuration.json").exists()


def test_output__holds_the_best_weights_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelscope_beit.training import milestones

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
