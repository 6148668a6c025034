"""Assembles a run out of its job: processes, network, optimizer, schedule, log and folder, fresh or resumed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from modelscope_beit import __version__
from modelscope_beit.data.batches import PictureTransform, RandomTransform, num_batches
from modelscope_beit.data.records import Records
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.networks import (
    build_network,
    evaluation_transform,
    load_start_network,
    training_transform,
)
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.network.zero_head import zero_head
from modelscope_beit.settings.evaluation import check_metrics
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.training.acceleration import (
    choose_precision,
    is_sharded,
    leaving_after_errors,
    open_accelerator,
    prepare_network,
)
from modelscope_beit.training.ema import WeightAverage
from modelscope_beit.training.environment import environment_info
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.losses import LossFunction, build_loss
from modelscope_beit.training.optimizer import build_optimizer, momenta_of
from modelscope_beit.training.own_losses import prepare_own_losses
from modelscope_beit.training.processes import Processes
from modelscope_beit.training.run_folder import RunFolder, newest_state
from modelscope_beit.training.run_log import RunLog
from modelscope_beit.training.run_state import Progress, restore
from modelscope_beit.training.schedule import MomentumSchedule, Schedule


@dataclass
class Run:
    """A run on its way.

    processes: all that take part. network, optimizer: as Accelerate prepared them. average: of the weights, if the
    recipe wants one.
    iterations_per_epoch, total_iterations: batches of the loader. folder: None in processes that do not write.
    loss_of: None where the network computes its losses itself.
    meta: what checkpoints say beside the weights. unchecked: losses that nobody has looked at yet.
    stopped_early: why the run ends before its length; total_iterations is then where it ends.
    """

    job: TrainingJob
    accelerator: Accelerator
    processes: Processes
    network: nn.Module
    optimizer: Any
    schedule: Schedule
    momentum: MomentumSchedule | None
    loss_of: LossFunction | None
    average: WeightAverage | None
    progress: Progress
    iterations_per_epoch: int
    total_iterations: int
    precision: str
    train_transform: RandomTransform
    evaluation_transform: PictureTransform
    meta: dict[str, Any]
    folder: RunFolder | None
    log: RunLog
    unchecked: list[Tensor] = field(default_factory=list)
    stopped_early: str = ""


@contextmanager
def open_run(job: TrainingJob) -> Iterator[Run]:
    """Gives a run that is ready for its next iteration; its log is closed at the end.

    Raises BeitError if weights, checkpoint, device or folder cannot be used.
    """
    recipe = job.recipe
    _check_metrics(job)
    accelerator = open_accelerator(recipe)
    processes = Processes(accelerator.num_processes)
    if is_sharded(accelerator):
        _check_sharding(job)
    set_seed(recipe.seed, deterministic=recipe.deterministic)
    resumed = newest_state(Path(recipe.resume_from).expanduser()) if recipe.resume_from else None
    classifier, notes = _classifier(job, is_resumed=resumed is not None)
    average = WeightAverage(classifier.to(accelerator.device), recipe.ema) if recipe.ema else None
    optimizer = build_optimizer(classifier, recipe.optimizer, fused=_can_fuse(accelerator))
    if recipe.compile:
        classifier.compile()
    network, prepared = prepare_network(accelerator, classifier, optimizer)
    per_epoch, total = _lengths(job, accelerator.num_processes)
    # Processes drop different paths; everything else that is random is drawn from (seed, epoch, sample).
    set_seed(recipe.seed, device_specific=True, deterministic=recipe.deterministic)
    progress, loss_of = Progress(), _loss(job, classifier)
    if resumed is not None:
        progress = restore(resumed[1], accelerator, network, prepared, average, loss_of)
        notes.append(f"Going on from {resumed[0]} after iteration {progress.iterations} of {total}.")
    meta = _meta(job, accelerator)
    with processes.together():
        folder = _open_folder(job, progress, is_main=accelerator.is_main_process, is_resumed=resumed is not None)
        log = _open_log(job, accelerator, per_epoch, total, meta)
    with log, leaving_after_errors():
        if progress.iterations:
            log.resumed(progress.iterations)
        for note in (*job.notes, *notes):
            log.note(note)
        yield Run(
            job=job,
            accelerator=accelerator,
            processes=processes,
            network=network,
            optimizer=prepared,
            schedule=_schedule(job, optimizer, per_epoch),
            momentum=_momentum(job, optimizer, per_epoch),
            loss_of=loss_of,
            average=average,
            progress=progress,
            iterations_per_epoch=per_epoch,
            total_iterations=total,
            precision=choose_precision(recipe.precision, accelerator.device),
            train_transform=training_transform(recipe.training_steps),
            evaluation_transform=evaluation_transform(job.settings.preprocessing),
            meta=meta,
            folder=folder,
            log=log,
        )


def losses_of(run: Run, images: Tensor, targets: Tensor) -> Tensor:
    """Returns the loss of each sample, (N,); targets: class numbers (N,), or shares of classes (N, K)."""
    if run.loss_of is None:
        losses: Tensor = run.network(images, targets)
        return losses.float()
    return run.loss_of(run.network(images), targets)


def _classifier(job: TrainingJob, *, is_resumed: bool) -> tuple[Classifier, list[str]]:
    """Returns the network with its start weights, and what is worth a line about them."""
    if is_resumed:
        return build_network(job.settings.model), []
    start = load_start_network(job.settings.model, job.start_weights)
    notes = [f"Start weights: {job.start_weights}, {start.num_mapped} of its keys used."]
    if start.initialised:
        notes.append(
            f"New, with fresh values: {', '.join(start.initialised)} ({job.settings.model.num_classes} classes)."
        )
    if job.recipe.zero_head:
        zeros = zero_head(start.network, job.settings.model.num_classes)
        notes.append(f"Set to zero, as train.head_init says: {', '.join(zeros)}.")
    return start.network, notes


def _check_sharding(job: TrainingJob) -> None:
    """Raises SettingsError for what cannot be trained in parts (FSDP)."""
    if job.recipe.ema is not None:
        raise SettingsError("The EMA hook and FSDP do not go together: shards are not averaged. Remove one of them.")
    if not isinstance(job.settings.model, ModelSettings):
        raise SettingsError(
            "FSDP divides a BEiT, ViT or DeiT into its blocks, but this network is built by timm or mmcls. Start it "
            "with torchrun or `accelerate launch` without --use_fsdp."
        )


def _can_fuse(accelerator: Accelerator) -> bool:
    """Fused optimizers compute on whole tensors of float32; shards have no fused form on every version of torch."""
    return accelerator.device.type in ("cpu", "cuda") and not is_sharded(accelerator)


def _lengths(job: TrainingJob, world_size: int) -> tuple[int, int]:
    """Returns iterations per epoch and in all."""
    recipe = job.recipe
    if isinstance(job.train, Records):
        per_epoch = num_batches(job.train, batch_size=recipe.batch_size, world_size=world_size)
    elif recipe.iterations is not None:
        per_epoch = recipe.iterations
    else:
        raise SettingsError(
            "The training data are a stream of unknown length, so epochs cannot be counted. Give the number of "
            "iterations: train.runner={'type': 'IterBasedRunner', 'max_iters': N}."
        )
    if recipe.iterations is not None:
        return per_epoch, recipe.iterations
    assert recipe.epochs is not None, "a recipe has epochs or iterations"
    return per_epoch, recipe.epochs * per_epoch


def _schedule(job: TrainingJob, optimizer: torch.optim.Optimizer, per_epoch: int) -> Schedule:
    return Schedule(
        job.recipe.schedule,
        [group["lr"] for group in optimizer.param_groups],
        iterations_per_epoch=per_epoch,
        epochs=job.recipe.epochs,
        iterations=job.recipe.iterations,
        base_lr=job.recipe.optimizer.lr,
    )


def _momentum(job: TrainingJob, optimizer: torch.optim.Optimizer, per_epoch: int) -> MomentumSchedule | None:
    if job.recipe.momentum is None:
        return None
    return MomentumSchedule(
        job.recipe.momentum,
        momenta_of(optimizer),
        iterations_per_epoch=per_epoch,
        epochs=job.recipe.epochs,
        iterations=job.recipe.iterations,
    )


def _loss(job: TrainingJob, classifier: Classifier) -> LossFunction | None:
    model, is_multi_label = job.settings.model, job.train.is_multi_label
    counts = job.train.class_counts().tolist() if isinstance(job.train, Records) else None
    if job.recipe.loss is not None:
        return build_loss(job.recipe.loss, model.num_classes, counts, is_multi_label=is_multi_label)
    assert isinstance(model, MmclsModelSettings), "all other networks have a loss beside them"
    prepare_own_losses(classifier, model.mm_model, counts, is_multi_label=is_multi_label)
    return None


def _check_metrics(job: TrainingJob) -> None:
    """Raises SettingsError for metrics that the data cannot give, before a step is made."""
    if job.validation is not None and job.recipe.validates:
        check_metrics(
            job.recipe.evaluation,
            num_classes=job.settings.model.num_classes,
            is_multi_label=job.validation.is_multi_label,
            where="train.evaluation",
        )


def _meta(job: TrainingJob, accelerator: Accelerator) -> dict[str, Any]:
    """What mm keeps in a checkpoint's meta, as plain values."""
    return {
        "CLASSES": list(job.settings.class_names or ()),
        "config": json.dumps(job.configuration, ensure_ascii=False, default=str),
        "seed": job.recipe.seed,
        "exp_name": job.work_dir.name,
        "env_info": environment_info(),
        "modelscope_beit_version": __version__,
        "num_processes": accelerator.num_processes,
    }


def _open_log(job: TrainingJob, accelerator: Accelerator, per_epoch: int, total: int, meta: dict[str, Any]) -> RunLog:
    return RunLog(
        job.work_dir,
        job.timestamp,
        is_main=accelerator.is_main_process,
        total_iterations=total,
        iterations_per_epoch=per_epoch if job.recipe.iterations is None else None,
        interval=job.recipe.log_interval,
        tensorboard=job.recipe.tensorboard,
        meta=meta,
    )


def _open_folder(job: TrainingJob, progress: Progress, *, is_main: bool, is_resumed: bool) -> RunFolder | None:
    if not is_main:
        return None
    facts = {
        "command": job.command,
        "source": job.source,
        "data": job.data,
        "timestamp": job.timestamp,
        "reopening": dict(job.reopening),
    }
    if is_resumed:
        return RunFolder.go_on(job.work_dir, facts, job.configuration, progress)
    return RunFolder.start(job.work_dir, facts, job.configuration)
