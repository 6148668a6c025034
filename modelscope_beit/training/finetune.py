"""The fine-tuning loop, start to finish: batch, mixing, network, loss, optimizer, schedule; now and then a milestone.

An iteration is one batch of the loader, as in mmcv; `accumulation` iterations make one step of the optimizer. A step
never spans the end of an epoch, so that a run can go on from any checkpoint with the same numbers.
"""

import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.data.batches import Batch, training_batches
from modelscope_beit.errors import TrainingError
from modelscope_beit.images.mixing import mix
from modelscope_beit.training.acceleration import clip_gradients
from modelscope_beit.training.interruption import Interruption
from modelscope_beit.training.job import TrainingJob, TrainingResult
from modelscope_beit.training.milestones import check_losses, finish, pass_milestones, stop_if_fruitless
from modelscope_beit.training.optimizer import set_learning_rates, set_momenta
from modelscope_beit.training.run import Run, losses_of, open_run

# Sets the random numbers of mixing apart from those of pictures, which come from (seed, epoch, row).
_MIXING = 0x6D6978


def finetune(job: TrainingJob) -> TrainingResult:
    """Trains until the recipe's end, early stopping, a signal or an error, and returns how it ended.

    Resumes if the recipe says so. Every process of a distributed run calls it; the first one writes.
    Raises BeitError for what a person can mend, before the first step where that is possible, and TrainingError for
    a loss that is not finite or memory that does not suffice for a single picture.
    """
    with Interruption() as interruption, open_run(job) as run:
        is_stopped = False
        # A run that was killed while it stopped early has nothing left to do.
        stop_if_fruitless(run)
        while run.progress.iterations < run.total_iterations and not is_stopped:
            is_stopped = _train_epoch(run, interruption)
        return finish(run, was_interrupted=is_stopped)


def _train_epoch(run: Run, interruption: Interruption) -> bool:
    """Trains the rest of the epoch at hand; returns whether a signal asked to stop."""
    epoch, start = divmod(run.progress.iterations, run.iterations_per_epoch)
    run.network.train()
    began = time.perf_counter()
    with closing(_groups(run, epoch, start)) as groups:
        for group in run.processes.each(groups):
            data_seconds = time.perf_counter() - began
            losses, norm = train_step(run, group)
            seconds = (time.perf_counter() - began) / len(group)
            for batch, loss in zip(group, losses, strict=True):
                _count_iteration(run, epoch, batch, loss, norm, data_seconds / len(group), seconds)
            is_stopped = run.processes.any(interruption.name is not None)
            pass_milestones(run, len(group), is_last=is_stopped)
            if is_stopped or run.progress.iterations >= run.total_iterations:
                return is_stopped
            began = time.perf_counter()
    return False


def train_step(run: Run, group: list[Batch]) -> tuple[list[Tensor], Tensor | None]:
    """Makes one step of the optimizer with the batches of a group.

    Returns the mean loss of each batch, and the gradient's norm before clipping, if it is clipped.
    Where a GPU's memory does not suffice, the batches are computed in twice as many pieces from then on; the
    gradient is the same sum.
    """
    last_iteration = run.progress.iterations + len(group) - 1
    _set_rates(run, last_iteration)
    while True:
        try:
            losses = _accumulate_gradients(run, group)
            break
        except torch.OutOfMemoryError as error:
            _halve_pieces(run, group, error)
    norm = None
    if run.job.recipe.clip is not None:
        norm = clip_gradients(run.accelerator, run.network, run.job.recipe.clip)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return losses, norm


def _accumulate_gradients(run: Run, group: list[Batch]) -> list[Tensor]:
    """Adds up the gradient of the mean loss over the group's batches, all processes together."""
    losses = []
    for position, batch in enumerate(group):
        images, targets = _mixed(run, batch, run.progress.iterations + position)
        weights = batch.weights.to(run.accelerator.device)
        # Processes are averaged, and the last batch may be uneven: so each sample counts by the global batch.
        share = run.accelerator.num_processes / (batch.global_size * len(group))
        parts = (tensor.chunk(run.progress.chunks) for tensor in (images, targets, weights))
        pieces = list(zip(*parts, strict=True))
        total = torch.zeros((), device=run.accelerator.device)
        for number, (some, wanted, weight) in enumerate(pieces, start=1):
            is_last = position == len(group) - 1 and number == len(pieces)
            with nullcontext() if is_last else run.accelerator.no_sync(run.network):
                loss = (losses_of(run, some, wanted) * weight).sum()
                run.accelerator.backward(loss * share)
            total += loss.detach()
        losses.append(total / batch.global_size)
    means: Tensor = run.accelerator.reduce(torch.stack(losses), reduction="sum")
    return list(means)


def _mixed(run: Run, batch: Batch, iteration: int) -> tuple[Tensor, Tensor]:
    """Returns images and targets on the device, mixed if the recipe mixes samples."""
    device = run.accelerator.device
    images, targets = batch.images.to(device, non_blocking=True), batch.labels.to(device, non_blocking=True)
    mixing = run.job.recipe.mixing
    if mixing is None:
        return images, targets
    if targets.ndim == 1:
        targets = F.one_hot(targets, run.job.settings.model.num_classes)
    rng = np.random.default_rng((run.job.recipe.seed, iteration, run.accelerator.process_index, _MIXING))
    return mix(images, targets.float(), mixing, rng)


def _set_rates(run: Run, iteration: int) -> None:
    set_learning_rates(run.optimizer, run.schedule.learning_rates(iteration))
    if run.momentum is not None:
        set_momenta(run.optimizer, run.momentum.momenta(iteration))


def epoch_batches(run: Run, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
    """Yields this process's batches of an epoch, without the first `start` ones; closing it ends its threads."""
    recipe = run.job.recipe
    return training_batches(
        run.job.train,
        run.train_transform,
        seed=recipe.seed,
        epoch=epoch,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        rank=run.accelerator.process_index,
        world_size=run.accelerator.num_processes,
        start_batch=start,
        order=recipe.order,
    )


def _groups(run: Run, epoch: int, start: int) -> Generator[list[Batch], None, None]:
    """Yields the batches of the rest of an epoch, as many together as make one step of the optimizer."""
    # Closing the batches ends their threads.
    with closing(epoch_batches(run, epoch, start)) as batches:
        left = min(run.iterations_per_epoch - start, run.total_iterations - run.progress.iterations)
        while left > 0 and (group := list(islice(batches, min(run.job.recipe.accumulation, left)))):
            left -= len(group)
            yield group


def _count_iteration(
    run: Run, epoch: int, batch: Batch, loss: Tensor, norm: Tensor | None, data_seconds: float, seconds: float
) -> None:
    rates = run.schedule.learning_rates(run.progress.iterations)
    if run.average is not None:
        run.average.update(run.progress.iterations)
    run.unchecked.append(loss)
    run.progress.iterations += 1
    run.log.train(
        run.progress.iterations,
        epoch + 1,
        learning_rates=rates,
        loss=loss,
        num_images=batch.global_size,
        data_seconds=data_seconds,
        seconds=seconds,
        gradient_norm=norm,
    )
    # On a GPU, looking at a loss waits for it.
    if run.accelerator.device.type == "cpu" or run.progress.iterations % run.job.recipe.log_interval == 0:
        check_losses(run)


def _halve_pieces(run: Run, group: list[Batch], error: Exception) -> None:
    """Prepares for another attempt with pieces of half the size, or raises TrainingError."""
    largest = max(len(batch.images) for batch in group)
    if run.accelerator.num_processes > 1 or run.progress.chunks >= largest:
        raise TrainingError(
            f"The GPU's memory does not suffice for {-(-largest // run.progress.chunks)} pictures at once "
            f"({error}). Halve train.dataloader.batch_size_per_gpu and double train.optimizer_config.cumulative_iters, "
            "or set model.mm_model.backbone.with_cp to recompute activations."
        ) from error
    run.progress.chunks *= 2
    run.optimizer.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    run.log.warn(
        f"Memory ran out; from now on a batch is computed in {run.progress.chunks} pieces, with the same gradient."
    )
