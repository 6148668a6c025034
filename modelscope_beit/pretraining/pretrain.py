"""The loop of pre-training, start to finish: batch, frozen networks, network, loss, optimizer, schedule; now and then
the gauges and a checkpoint, and at the end the gate. Both stages run through it.

An iteration is one batch; `accumulation` of them make one step of the optimizer. A step never spans the end of an
epoch, so that a run can go on from any checkpoint with the same numbers.
"""

import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from itertools import islice

import torch
from torch import Tensor

from modelscope_beit import names
from modelscope_beit.errors import TrainingError
from modelscope_beit.pretraining.ending import conclude, write_files
from modelscope_beit.pretraining.gauging import take_gauges
from modelscope_beit.pretraining.job import PretrainingJob, PretrainingResult
from modelscope_beit.pretraining.run import PretrainingProgress, completed, epoch_batches, open_pretraining
from modelscope_beit.pretraining.stage import StageBatch
from modelscope_beit.settings.optimizer_step import GradientClip
from modelscope_beit.training.acceleration import clip_gradients
from modelscope_beit.training.interruption import Interruption
from modelscope_beit.training.optimizer import set_learning_rates
from modelscope_beit.training.run_state import capture

# Changes no gradient, but gives their norm, which is a gauge.
_NO_CLIP = GradientClip(float("inf"))


def pretrain(job: PretrainingJob) -> PretrainingResult:
    """Trains one stage until the recipe's end, a signal or an error, and returns how it ended.

    Every process of a distributed run calls it; the first one writes. Raises BeitError for what a person can mend,
    TrainingError for a loss that is not finite.
    """
    with Interruption() as interruption, open_pretraining(job) as run:
        if run.progress.iterations == 0:
            _begin(run)
        is_stopped = False
        while run.progress.iterations < run.total_iterations and not is_stopped:
            is_stopped = _train_epoch(run, interruption)
        if is_stopped:
            run.log.note(f"Stopped by a signal after iteration {run.progress.iterations}; saved.")
            run.log.note(f"To go on: {names.COMMAND} resume {job.work_dir}")
        return conclude(run, was_interrupted=is_stopped)


def _begin(run: PretrainingProgress) -> None:
    """Lets the stage begin from data, in training mode; all processes have equal networks afterwards."""
    run.network.train()
    with closing(epoch_batches(run, 0, 0)) as batches:
        run.job.stage.before_first_step(completed(run, batch) for batch in batches)


def _train_epoch(run: PretrainingProgress, interruption: Interruption) -> bool:
    """Trains the rest of the epoch at hand; returns whether a signal asked to stop."""
    epoch, start = divmod(run.progress.iterations, run.iterations_per_epoch)
    run.network.train()
    began = time.perf_counter()
    with closing(_groups(run, epoch, start)) as groups:
        for group in run.processes.each(groups):
            data_seconds = time.perf_counter() - began
            norm = train_step(run, group)
            seconds = time.perf_counter() - began
            _count(run, epoch, len(group), norm, data_seconds, seconds)
            is_stopped = run.processes.any(interruption.name is not None)
            _pass_milestones(run, epoch, len(group), is_last=is_stopped)
            if is_stopped or run.progress.iterations >= run.total_iterations:
                return is_stopped
            began = time.perf_counter()
    return False


def train_step(run: PretrainingProgress, group: list[StageBatch]) -> Tensor:
    """Makes one step of the optimizer with the batches of a group; returns the gradient's norm before clipping."""
    set_learning_rates(run.optimizer, _rates(run, run.progress.iterations + len(group) - 1))
    for position, batch in enumerate(group):
        is_last = position == len(group) - 1
        with nullcontext() if is_last else run.accelerator.no_sync(run.network):
            loss, measured = run.network(completed(run, batch))
            run.accelerator.backward(loss / len(group))
        _note(run, loss, measured)
    clip = run.job.recipe.clip
    norm = clip_gradients(run.accelerator, run.network, _NO_CLIP if clip is None else GradientClip(clip))
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.job.stage.after_step(run.progress.iterations + len(group))
    return norm


def _rates(run: PretrainingProgress, iteration: int) -> list[float]:
    return run.schedule.learning_rates(iteration) * len(run.optimizer.param_groups)


def _note(run: PretrainingProgress, loss: Tensor, measured: dict[str, Tensor]) -> None:
    """Keeps the loss and what was measured, means over all processes."""
    values = torch.stack([loss.detach().float(), *(value.detach().float() for value in measured.values())])
    means = run.accelerator.reduce(values, reduction="mean")
    run.unchecked.append(means[0])
    for name, value in zip(measured, means[1:], strict=True):
        run.measurements.setdefault(f"train_{name}", []).append(value)


def _groups(run: PretrainingProgress, epoch: int, start: int) -> Generator[list[StageBatch], None, None]:
    """Yields the batches of the rest of an epoch, as many together as make one step of the optimizer."""
    with closing(epoch_batches(run, epoch, start)) as batches:
        left = min(run.iterations_per_epoch - start, run.total_iterations - run.progress.iterations)
        while left > 0 and (group := list(islice(batches, min(run.job.recipe.accumulation, left)))):
            left -= len(group)
            yield group


def _count(run: PretrainingProgress, epoch: int, count: int, norm: Tensor, data_seconds: float, seconds: float) -> None:
    run.measurements.setdefault("gradient_norm", []).append(norm.detach().float())
    images = run.job.recipe.batch_size * run.accelerator.num_processes
    for loss in run.unchecked[-count:]:
        rates = _rates(run, run.progress.iterations)
        run.progress.iterations += 1
        run.log.train(
            run.progress.iterations,
            epoch + 1,
            learning_rates=rates,
            loss=loss,
            num_images=images,
            data_seconds=data_seconds / count,
            seconds=seconds / count,
            gradient_norm=norm,
        )
    # On a GPU, looking at a loss waits for it.
    if run.accelerator.device.type == "cpu" or run.progress.iterations % run.job.recipe.log_interval < count:
        _check_losses(run)


def _check_losses(run: PretrainingProgress) -> None:
    losses, first = torch.stack(run.unchecked), run.progress.iterations - len(run.unchecked)
    run.unchecked.clear()
    bad = (~torch.isfinite(losses)).nonzero().flatten()
    if len(bad):
        raise TrainingError(
            f"The loss became {losses[bad[0]].item()} at iteration {first + int(bad[0]) + 1}; the checkpoints are from "
            "before. A lower run.lr, a longer warm-up or run.clip usually helps; with fp16, so does bf16."
        )


def _pass_milestones(run: PretrainingProgress, epoch: int, count: int, *, is_last: bool) -> None:
    """Measures and saves, if that is due after the latest iterations. is_last: a signal ends the run."""
    recipe, iterations = run.job.recipe, run.progress.iterations
    is_end = iterations >= run.total_iterations
    is_measured = is_end or _is_due(iterations, count, recipe.gauge_interval)
    is_saved = is_end or is_last or _is_due(iterations, count, recipe.checkpoint_interval)
    if (is_measured or is_saved) and run.unchecked:
        _check_losses(run)
    if is_measured:
        take_gauges(run, epoch)
        run.network.train()
    if is_saved:
        _save(run, epoch)


def _is_due(iterations: int, count: int, interval: int) -> bool:
    return interval > 0 and any(number % interval == 0 for number in range(iterations - count + 1, iterations + 1))


def _save(run: PretrainingProgress, epoch: int) -> None:
    state = capture(run.accelerator, run.network, run.optimizer, None, run.progress)
    with run.processes.together():
        if run.folder is not None:
            meta = {**run.meta, "epoch": epoch + 1, "iter": run.progress.iterations}
            name = f"iter_{run.progress.iterations}.pth"
            keep = run.job.recipe.keep_checkpoints
            run.folder.save(name, state, meta, max_keep=keep, create_symlink=True)
            write_files(run)
