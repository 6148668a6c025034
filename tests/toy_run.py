"""Runs the toy stage on drawn pictures: for the tests, and as a program of its own for those that kill it.

python toy_run.py PICTURES RUN ITERATIONS BATCH [--slow] [--resume]
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modelscope_beit.data.unlabelled import open_pictures
from modelscope_beit.pretraining.job import Labelled, PretrainingJob
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.settings.pretraining_run import PretrainingRun
from toy_stage import ToyStage

TIMESTAMP = "20260101_000000"


def draw_pictures(folder: Path, count: int) -> Path:
    """Writes pictures of one colour each, with a little noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, 3) * np.ones((12, 12, 1)) + rng.normal(0, 8, (12, 12, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def recipe(**changes: Any) -> PretrainingRun:
    """A run of 24 iterations on the processor."""
    values: dict[str, Any] = {
        "epochs": 3, "batch_size": 4, "workers": 0, "lr": 1e-2, "min_lr": 1e-3, "warm_up_epochs": 1, "clip": 0.5,
        "precision": "fp32", "device": "cpu", "log_interval": 2, "gauge_interval": 5, "gauge_pictures": 4,
        "checkpoint_interval": 5, "keep_checkpoints": 0,
    }  # fmt: skip
    return PretrainingRun(**(values | changes))


def make_job(
    pictures: Path,
    work_dir: Path,
    stage: ToyStage | None = None,
    labelled: Labelled | None = None,
    *,
    resume: bool = False,
    **changes: Any,
) -> PretrainingJob:
    """A job of the toy stage; changes: of the recipe."""
    return PretrainingJob(
        stage=stage or ToyStage(),
        recipe=recipe(**changes),
        pictures=open_pictures(pictures),
        labelled=labelled,
        configuration={"stage": "toy"},
        work_dir=work_dir,
        timestamp=TIMESTAMP,
        data=str(pictures),
        command="beit toy",
        is_resumed=resume,
    )


if __name__ == "__main__":
    toy = ToyStage()
    if "--slow" in sys.argv:
        toy.after_step = lambda iteration: time.sleep(0.05)  # type: ignore[method-assign]
    folders, length, batch = [Path(name) for name in sys.argv[1:3]], int(sys.argv[3]), int(sys.argv[4])
    changes: dict[str, Any] = {"epochs": None, "iterations": length, "warm_up_iterations": 4, "batch_size": batch}
    pretrain(make_job(folders[0], folders[1], toy, resume="--resume" in sys.argv, **changes))
