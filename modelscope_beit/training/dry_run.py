"""Tries a few steps of a run, without leaving a file, and tells what the whole of it will take."""

import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from modelscope_beit.data.batches import Batch
from modelscope_beit.settings.foreign_steps import picture_size, write_preprocessing
from modelscope_beit.training.estimate import MemoryEstimate, TimeEstimate, estimate_memory, estimate_time
from modelscope_beit.training.finetune import epoch_batches, train_step
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.run import Run, open_run


@dataclass(frozen=True)
class RunEstimate:
    """What a run will take. steps: of the optimizer. precision: "fp32", "bf16" or "fp16", what "auto" became.

    time: of the training steps, with their data; validation is not in it.
    """

    device: str
    precision: str
    num_processes: int
    iterations_per_epoch: int
    iterations: int
    steps: int
    memory: MemoryEstimate
    time: TimeEstimate


def estimate_run(job: TrainingJob) -> RunEstimate:
    """Returns the estimate of a job, after a few of its steps on copies of the weights.

    Raises what training would raise before or in its first steps.
    """
    with tempfile.TemporaryDirectory(prefix="beit-") as folder, open_run(replace(job, work_dir=Path(folder))) as run:
        accumulation = job.recipe.accumulation
        steps_per_epoch = -(-run.iterations_per_epoch // accumulation)
        steps = run.total_iterations // run.iterations_per_epoch * steps_per_epoch
        steps += -(-(run.total_iterations % run.iterations_per_epoch) // accumulation)
        with closing(_groups(run)) as groups:
            time = estimate_time(lambda: train_step(run, next(groups)), steps)
        return RunEstimate(
            device=str(run.accelerator.device),
            precision=run.precision,
            num_processes=run.accelerator.num_processes,
            iterations_per_epoch=run.iterations_per_epoch,
            iterations=run.total_iterations,
            steps=steps,
            memory=_memory(run),
            time=time,
        )


def _memory(run: Run) -> MemoryEstimate:
    recipe = run.job.recipe
    # Every optimizer here keeps as many tensors for each weight; a step count has no dimension.
    kept: dict[str, Any] = next(iter(run.optimizer.state.values()), {})
    return estimate_memory(
        run.accelerator.unwrap_model(run.network),
        picture_size=picture_size(
            run.job.settings.model.image_size, write_preprocessing(run.job.settings.preprocessing)
        ),
        batch_size=recipe.batch_size,
        precision=run.precision,
        on_cpu=run.accelerator.device.type == "cpu",
        optimizer_tensors=sum(getattr(value, "ndim", 0) > 0 for value in kept.values()),
        has_average=recipe.ema is not None,
        keeps_gradients=recipe.accumulation > 1 or run.accelerator.num_processes > 1,
    )


def _groups(run: Run) -> Generator[list[Batch], None, None]:
    """Yields batches, as many together as make one step, over and over; closing it ends their threads."""
    for epoch in count():
        with closing(epoch_batches(run, epoch)) as batches:
            while group := list(islice(batches, run.job.recipe.accumulation)):
                yield group
