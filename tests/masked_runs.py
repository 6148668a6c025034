"""Masked image modelling that takes milliseconds a step: for the tests, and as a program that trains in two processes.

python masked_runs.py PICTURES RUN ITERATIONS BATCH
"""

import multiprocessing
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import helpers
from modelscope_beit.data.unlabelled import open_pictures
from modelscope_beit.pretraining.job import PretrainingJob
from modelscope_beit.pretraining.masked_model import build_masked_model
from modelscope_beit.pretraining.masked_stage import MaskedStage, VisualTokenizer
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.settings.masked_configuration import classifier_configuration, write_masked_settings
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings, masked_pretraining_settings
from modelscope_beit.settings.pretraining_run import PretrainingRun
from tiny_tokenizer import tiny_tokenizer

NUM_CODES = 24


def tiny_masked(**backbone: Any) -> MaskedPretrainingSettings:
    """Pictures of 32 pixels in 4 x 4 patches, 24 codes, as those of tiny_tokenizer."""
    sizes = {"image_size": (32, 32), "patch_size": 8, "width": 32, "depth": 3, "num_heads": 2, "mlp_hidden": 64}
    settings = masked_pretraining_settings("base", **(sizes | backbone))
    return replace(settings, model=replace(settings.model, num_visual_tokens=NUM_CODES), early_layer=2)


class GreyTokenizer:
    """The code of every patch is how bright its picture is: what is seen tells all about what is hidden."""

    def __init__(self, levels: int = NUM_CODES) -> None:
        self.levels = levels

    def tokenize(self, images: Tensor) -> Tensor:
        assert images.min() >= 0 and images.max() <= 1
        levels = (images.mean(dim=(1, 2, 3)) * self.levels).long().clamp(max=self.levels - 1)
        return levels[:, None].expand(-1, 16).contiguous()


def tiny_stage(
    settings: MaskedPretrainingSettings | None = None, tokenizer: VisualTokenizer | None = None, *, seed: int = 0
) -> MaskedStage:
    """A fresh network beside a tokenizer that never learned."""
    settings = settings or tiny_masked()
    tokenizer = tokenizer or tiny_tokenizer()
    torch.manual_seed(seed)
    return MaskedStage(settings, build_masked_model(settings), tokenizer)


def write_crops(folder: Path, count: int) -> Path:
    """Writes small pieces of real photographs."""
    folder.mkdir(parents=True)
    pictures = helpers.photographs()
    for number in range(count):
        left, top = 31 * number % 560, 23 * number % 340
        pictures[number % 2].crop((left, top, left + 72, top + 64)).save(folder / f"{number:03d}.png")
    return folder


def masked_job(
    pictures: Path, work_dir: Path, stage: MaskedStage, *, resume: bool = False, **run: Any
) -> PretrainingJob:
    """A job of a few iterations on the processor; run: changes of the recipe."""
    values: dict[str, Any] = {
        "epochs": None, "iterations": 6, "warm_up_epochs": 0, "warm_up_iterations": 0, "batch_size": 4, "workers": 0,
        "lr": 1e-3, "precision": "fp32", "device": "cpu", "gauge_interval": 3, "gauge_pictures": 4,
        "checkpoint_interval": 3, "keep_checkpoints": 0, "log_interval": 2,
    }  # fmt: skip
    return PretrainingJob(
        stage=stage,
        recipe=PretrainingRun(**(values | run)),
        pictures=open_pictures(pictures),
        labelled=None,
        configuration={"stage": "masked", "masked": write_masked_settings(stage.settings)},
        output_configuration=classifier_configuration(stage.settings),
        work_dir=work_dir,
        timestamp="20260101_000000",
        data=str(pictures),
        command="beit pretrain",
        is_resumed=resume,
    )


def train_together(rank: int, port: int, arguments: list[str]) -> None:
    """Trains as one of two processes on two nodes, with what torchrun would tell it: each is the first of its node."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "GROUP_RANK": str(rank), "GROUP_WORLD_SIZE": "2"}
    os.environ |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    pictures, run, iterations, batch = arguments
    changes = {"iterations": int(iterations), "batch_size": int(batch), "gauge_pictures": 0}
    pretrain(masked_job(Path(pictures), Path(run), tiny_stage(), **changes))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        free = found.getsockname()[1]
    # Forked, so that torch is imported once.
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=train_together, args=(rank, free, sys.argv[1:])) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in both))
