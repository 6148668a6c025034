"""The loop of pre-training: what a step computes, that a run goes on bit for bit, and that two processes equal one."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import helpers
import toy_run
from modelscope_beit.errors import SettingsError, TrainingError
from modelscope_beit.pretraining import pretrain as pretrain_module
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.training.interruption import Interruption
from toy_run import draw_pictures, make_job
from toy_stage import PIXELS, ToyNetwork, ToyStage

PROGRAM = Path(toy_run.__file__)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "pictures", 36)


def weights(run: Path, name: str = "latest.pth") -> dict[str, torch.Tensor]:
    return torch.load(run / name, weights_only=True)["state_dict"]


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def start(*arguments: object, processes: int = 1) -> "subprocess.Popen[str]":
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), str(PROGRAM), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": f"{helpers.ROOT}:{PROGRAM.parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_pretrain__steps_are_adamw_along_the_published_schedule(tmp_path: Path) -> None:
    """One grey level for all pictures and no dropout: then a step can be written down with nothing of ours."""
    (tmp_path / "grey").mkdir()
    for number in range(9):
        Image.new("RGB", (8, 8), (51, 51, 51)).save(tmp_path / "grey" / f"{number}.png")
    stage = ToyStage()
    stage.network.drop.p = 0.0
    stage.sample = lambda picture, rng: {"image": stage.view(picture)}  # type: ignore[method-assign]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = ToyNetwork().double()
    pretrain(make_job(tmp_path / "grey", tmp_path / "run", stage, gauge_pictures=0, epochs=5, weight_decay=0.3))

    expected.drop.p = 0.0
    decayed = [p for name, p in expected.named_parameters() if name.endswith("weight")]
    others = [p for name, p in expected.named_parameters() if not name.endswith("weight")]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    image = torch.full((4, 3, PIXELS, PIXELS), 51 / 255).double()
    for step in range(10):
        # Two iterations an epoch; one epoch of warm-up from 0 to the peak, then a cosine over the other eight.
        cosine = 1e-3 + (1e-2 - 1e-3) * 0.5 * (1 + math.cos(math.pi * (step - 2) / 8))
        for group in optimizer.param_groups:
            group["lr"] = [0.0, 1e-2][step] if step < 2 else cosine
        loss, _ = expected({"image": image, "target": image.mean(dim=(2, 3))})
        optimizer.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in expected.parameters() if p.grad is not None))
        for p in expected.parameters():
            assert p.grad is not None
            p.grad *= min(1.0, 0.5 / (norm + 1e-6))
        optimizer.step()
    for name, weight in expected.named_parameters():
        torch.testing.assert_close(stage.network.get_parameter(name).double(), weight, rtol=2e-4, atol=2e-6)


def test_pretrain__learns_and_leaves_its_files(pictures: Path, tmp_path: Path) -> None:
    stage = ToyStage()
    result = pretrain(make_job(pictures, tmp_path / "run", stage, epochs=6))
    assert result.iterations == 48
    assert result.verdict is not None
    assert result.verdict.goes_on
    assert stage.begun == 1
    assert stage.steps == list(range(1, 49))
    rows = [line.split(",") for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    aside = [float(row[rows[0].index("aside_error")]) for row in rows[1:] if row[rows[0].index("aside_error")]]
    assert aside[-1] < 0.5 * aside[0]
    gate = json.loads((tmp_path / "run" / "gate.json").read_text())
    assert (gate["stage"], gate["goes_on"]) == ("toy", True)
    assert gate["gauges"]["gradient_norm"] > 0
    written = torch.load(tmp_path / "run" / "output" / "toy.pth", weights_only=True)["model"]
    assert equal(written, weights(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["is_finished"] is True


@pytest.mark.parametrize("changes", [{}, {"accumulation": 3}, {"workers": 2}], ids=["plain", "accumulation", "threads"])
def test_pretrain__goes_on_bit_for_bit_after_a_signal(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    pretrain(make_job(pictures, tmp_path / "whole", **changes))
    steps = 0
    step = pretrain_module.train_step

    def counted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_module, "train_step", counted)
        name = property(lambda _: "SIGTERM" if steps == 4 else None, lambda *_: None)
        patch.setattr(Interruption, "name", name, raising=False)
        result = pretrain(make_job(pictures, tmp_path / "parts", **changes))
    assert result.was_interrupted
    assert result.verdict is None
    assert not (tmp_path / "parts" / "gate.json").exists()
    resumed = ToyStage()
    pretrain(make_job(pictures, tmp_path / "parts", resumed, resume=True, **changes))
    assert resumed.begun == 0
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    tables = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "parts")]
    column = tables[0][0].split(",").index("aside_error")
    # Measured means of the training cover what came since the last look, so they alone may differ.
    assert [row.split(",")[column] for row in tables[0]] == [row.split(",")[column] for row in tables[1]]


def test_pretrain__goes_on_bit_for_bit_after_being_killed(pictures: Path, tmp_path: Path) -> None:
    killed = start(pictures, tmp_path / "killed", 30, 4, "--slow")
    length: dict[str, Any] = {"epochs": None, "iterations": 30, "warm_up_iterations": 4}
    pretrain(make_job(pictures, tmp_path / "whole", **length))
    deadline = time.monotonic() + 90
    while not (tmp_path / "killed" / "iter_10.pth").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "iter_30.pth").exists()
    pretrain(make_job(pictures, tmp_path / "killed", resume=True, **length))
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    optimizers = [torch.load(tmp_path / n / "latest.pth", weights_only=True)["optimizer"] for n in ("whole", "killed")]
    moments = [state["state"]["hidden.weight"]["exp_avg_sq"] for state in optimizers]
    assert torch.equal(*moments)


def test_pretrain__two_processes_equal_one(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without dropout, of which each process has its own.
    monkeypatch.setenv("TOY_DROPOUT", "0")
    two = start(pictures, tmp_path / "two", 12, 4, processes=2)
    pretrain(make_job(pictures, tmp_path / "one", batch_size=8, epochs=None, iterations=12, warm_up_iterations=4))
    output, _ = two.communicate(timeout=120)
    assert two.returncode == 0, output
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in alone:
        # What each process begins from its own data is for the stage to share.
        if name != "start":
            torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-6)


def test_pretrain__stops_at_a_loss_that_is_not_finite(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"became (nan|inf) at iteration \d+.*lower run.lr"):
        pretrain(make_job(pictures, tmp_path / "run", lr=1e30, min_lr=1e29, clip=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 40}, "33 pictures are left to train on, which fill no batch of 40"),
        ({"warm_up_epochs": 3}, "warm-up takes 24 iterations, but the run has 24"),
        ({"epochs": None, "iterations": 8}, "warm_up_iterations is expected"),
    ],
)
def test_pretrain__refuses_what_cannot_be_run(
    pictures: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        pretrain(make_job(pictures, tmp_path / "run", **changes))


def test_pretrain__measuring_changes_no_training(pictures: Path, tmp_path: Path) -> None:
    pretrain(make_job(pictures, tmp_path / "often", gauge_interval=2))
    pretrain(make_job(pictures, tmp_path / "never", gauge_interval=0))
    assert equal(weights(tmp_path / "often"), weights(tmp_path / "never"))


def test_pretrain__rows_are_mixed_anew_each_epoch(pictures: Path, tmp_path: Path) -> None:
    stage, seen = ToyStage(), []
    complete = stage.complete

    def noted(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(np.round(batch["image"].mean(dim=(1, 2, 3)).numpy(), 1).tolist())
        return complete(batch)

    stage.complete = noted  # type: ignore[method-assign]
    pretrain(make_job(pictures, tmp_path / "run", stage, epochs=2, gauge_pictures=0))
    first, second = seen[1:10], seen[10:19]
    assert first != second
    assert len({value for row in first for value in row}) > 1
