"""Assembles a stage's run out of its job: processes, network, optimizer, schedule, log and folder, fresh or resumed."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from modelscope_beit import __version__
from modelscope_beit.data.batches import sample_batches
from modelscope_beit.data.records import Records
from modelscope_beit.data.unlabelled import PictureStream
from modelscope_beit.errors import SettingsError
from modelscope_beit.pretraining.job import PretrainingJob
from modelscope_beit.pretraining.stage import StageBatch
from modelscope_beit.settings.optimizer import OptimizerSettings
from modelscope_beit.settings.parameter_rules import CustomKey, ParamwiseSettings
from modelscope_beit.settings.pretraining_run import PretrainingRun
from modelscope_beit.settings.rate_policies import Target, UnilmCosine, WarmUp
from modelscope_beit.settings.schedule import ScheduleSettings
from modelscope_beit.training.acceleration import (
    choose_precision,
    is_sharded,
    leaving_after_errors,
    open_accelerator,
    prepare_network,
)
from modelscope_beit.training.environment import environment_info
from modelscope_beit.training.metrics_table import COLUMNS, METRICS_FILE, read_metrics
from modelscope_beit.training.optimizer import build_optimizer
from modelscope_beit.training.processes import Processes
from modelscope_beit.training.run_folder import RunFolder, newest_state
from modelscope_beit.training.run_log import RunLog
from modelscope_beit.training.run_state import Progress, restore
from modelscope_beit.training.schedule import Schedule

# At most this share of the pictures is set aside for the gauges.
_MOST_ASIDE = 0.1
# Keeps the choice of pictures that are set aside apart from all other random numbers.
_ASIDE = 0x61736964


@dataclass
class PretrainingProgress:
    """A run of one stage on its way; see training.run.Run for what it shares with fine-tuning.

    pictures: those that are trained on; aside: those for the gauges.
    measurements: what the stage's forward told since the last gauges: name -> numbers.
    history: the gauges so far, oldest first.
    """

    job: PretrainingJob
    accelerator: Accelerator
    processes: Processes
    network: nn.Module
    optimizer: Any
    schedule: Schedule
    progress: Progress
    iterations_per_epoch: int
    total_iterations: int
    precision: str
    pictures: Records | PictureStream
    aside: Records | None
    folder: RunFolder | None
    log: RunLog
    meta: dict[str, Any]
    unchecked: list[Tensor] = field(default_factory=list)
    measurements: dict[str, list[Tensor]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def _tell_start(log: RunLog, job: PretrainingJob, progress: Progress, total: int) -> None:
    if progress.iterations:
        log.resumed(progress.iterations)
        log.note(f"Going on after iteration {progress.iterations} of {total}.")
    for note in job.notes:
        log.note(note)


@contextmanager
def open_pretraining(job: PretrainingJob) -> Iterator[PretrainingProgress]:
    """Gives a run that is ready for its next iteration; its log is closed at the end.

    Raises BeitError if the pictures, a checkpoint, the device or the folder cannot be used.
    """
    recipe = job.recipe
    accelerator = open_accelerator(recipe)
    if is_sharded(accelerator):
        raise SettingsError("Pre-training keeps the whole network on each GPU. Start it with torchrun, without FSDP.")
    processes = Processes(accelerator.num_processes)
    set_seed(recipe.seed, deterministic=recipe.deterministic)
    pictures, aside = _divided(job)
    per_epoch, total = _lengths(recipe, pictures, accelerator.num_processes)
    resumed = newest_state(job.work_dir) if job.is_resumed else None
    job.stage.move(accelerator.device)
    # Processes may have begun from other random numbers, and gradients alone would not tell.
    job.stage.network.to(accelerator.device)
    processes.take_over(job.stage.network.state_dict().values())
    optimizer = build_optimizer(job.stage.network, _optimizer(job), fused=accelerator.device.type in ("cpu", "cuda"))
    if recipe.compile:
        job.stage.network.compile()
    network, prepared = prepare_network(accelerator, job.stage.network, optimizer)
    # Processes drop different paths; everything else that is random is drawn from (seed, epoch, picture).
    set_seed(recipe.seed, device_specific=True, deterministic=recipe.deterministic)
    progress = Progress() if resumed is None else restore(resumed[1], accelerator, network, prepared, None)
    meta = _meta(job, accelerator)
    with processes.together():
        folder = _open_folder(job, progress, is_main=accelerator.is_main_process, is_resumed=resumed is not None)
        log = _open_log(job, meta, per_epoch, total, is_main=accelerator.is_main_process)
    with log, leaving_after_errors():
        _tell_start(log, job, progress, total)
        yield PretrainingProgress(
            job=job,
            accelerator=accelerator,
            processes=processes,
            network=network,
            optimizer=prepared,
            schedule=_schedule(recipe, per_epoch, total),
            progress=progress,
            iterations_per_epoch=per_epoch,
            total_iterations=total,
            precision=choose_precision(recipe.precision, accelerator.device),
            pictures=pictures,
            aside=aside,
            folder=folder,
            log=log,
            meta=meta,
            history=_history(job, progress.iterations),
        )


def epoch_batches(run: PretrainingProgress, epoch: int, start: int) -> Generator[StageBatch, None, None]:
    """Yields this process's batches of an epoch, without the first `start` ones; closing it ends its threads."""
    recipe = run.job.recipe
    # A stream has been divided among the processes already.
    is_divided = isinstance(run.pictures, PictureStream)
    return sample_batches(
        run.pictures,
        run.job.stage.sample,
        seed=recipe.seed,
        epoch=epoch,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        rank=0 if is_divided else run.accelerator.process_index,
        world_size=1 if is_divided else run.accelerator.num_processes,
        start_batch=start,
    )


def completed(run: PretrainingProgress, batch: StageBatch) -> StageBatch:
    """Returns the batch on the device, with what frozen networks make of it."""
    moved = {name: tensor.to(run.accelerator.device, non_blocking=True) for name, tensor in batch.items()}
    with torch.no_grad(), run.accelerator.autocast():
        return run.job.stage.complete(moved)


def _divided(job: PretrainingJob) -> tuple[Records | PictureStream, Records | None]:
    """Returns the pictures to train on, and those that are set aside; of a stream nothing can be set aside."""
    pictures, recipe = job.pictures, job.recipe
    if isinstance(pictures, PictureStream):
        return pictures, None
    count = min(recipe.gauge_pictures, int(_MOST_ASIDE * len(pictures)))
    order = np.random.default_rng((recipe.seed, _ASIDE)).permutation(len(pictures))
    aside = pictures.select(np.sort(order[:count]), f"{count} pictures of {pictures.description}") if count else None
    return pictures.select(np.sort(order[count:]), pictures.description), aside


def _lengths(recipe: PretrainingRun, pictures: Records | PictureStream, world_size: int) -> tuple[int, int]:
    """Returns iterations per epoch, only whole batches, and in all; a stream is one epoch."""
    if isinstance(pictures, PictureStream):
        if recipe.iterations is None:
            raise SettingsError(
                f"{pictures.description} has an unknown length, so epochs cannot be counted. Give run.iterations, and "
                "set run.epochs to null."
            )
        return recipe.iterations, recipe.iterations
    whole = recipe.batch_size * world_size
    per_epoch = len(pictures) // whole
    if per_epoch == 0:
        raise SettingsError(
            f"{pictures.description}: {len(pictures)} pictures are left to train on, which fill no batch of {whole} "
            f"(run.batch_size {recipe.batch_size}, {world_size} processes). Lower run.batch_size."
        )
    if recipe.iterations is not None:
        return per_epoch, recipe.iterations
    assert recipe.epochs is not None, "one of the two is set"
    return per_epoch, recipe.epochs * per_epoch


def _optimizer(job: PretrainingJob) -> OptimizerSettings:
    """AdamW; biases, all parameters of one dimension and what the stage names have no weight decay, as in unilm."""
    recipe = job.recipe
    exempt = tuple(CustomKey(key, decay_mult=0.0) for key in sorted(job.stage.no_decay, key=len, reverse=True))
    rules = ParamwiseSettings(
        bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0, custom_keys=exempt
    )  # fmt: skip
    options = {"betas": recipe.betas, "eps": recipe.eps}
    return OptimizerSettings("AdamW", recipe.lr, recipe.weight_decay, options, rules)


def _schedule(recipe: PretrainingRun, per_epoch: int, total: int) -> Schedule:
    length = recipe.warm_up_epochs * per_epoch if recipe.warm_up_iterations is None else recipe.warm_up_iterations
    if recipe.iterations is not None and recipe.warm_up_iterations is None:
        raise SettingsError("run.iterations is set, so run.warm_up_iterations is expected too.")
    if length >= total:
        raise SettingsError(
            f"The warm-up takes {length} iterations, but the run has {total}; lower run.warm_up_epochs (or "
            "run.warm_up_iterations)."
        )
    settings = ScheduleSettings(
        UnilmCosine(Target(value=recipe.min_lr)),
        by_epoch=False,
        warm_up=WarmUp("from_zero", length) if length else None,
    )
    return Schedule(settings, [recipe.lr], iterations_per_epoch=per_epoch, iterations=total, base_lr=recipe.lr)


def _meta(job: PretrainingJob, accelerator: Accelerator) -> dict[str, Any]:
    return {
        "stage": job.stage.name,
        "seed": job.recipe.seed,
        "exp_name": job.work_dir.name,
        "env_info": environment_info(),
        "modelscope_beit_version": __version__,
        "num_processes": accelerator.num_processes,
    }


def _open_folder(job: PretrainingJob, progress: Progress, *, is_main: bool, is_resumed: bool) -> RunFolder | None:
    if not is_main:
        return None
    facts = {"command": job.command, "source": job.stage.name, "data": job.data, "timestamp": job.timestamp}
    if is_resumed:
        return RunFolder.go_on(job.work_dir, facts, dict(job.configuration), progress)
    return RunFolder.start(job.work_dir, facts, dict(job.configuration))


def _open_log(job: PretrainingJob, meta: dict[str, Any], per_epoch: int, total: int, *, is_main: bool) -> RunLog:
    return RunLog(
        job.work_dir,
        job.timestamp,
        is_main=is_main,
        total_iterations=total,
        iterations_per_epoch=per_epoch if job.recipe.iterations is None else None,
        interval=job.recipe.log_interval,
        tensorboard=job.recipe.tensorboard,
        meta=meta,
    )


def _history(job: PretrainingJob, iterations: int) -> list[dict[str, float]]:
    """Returns the gauges of the parts of the run before this one."""
    if not iterations:
        return []
    rows = read_metrics(job.work_dir / METRICS_FILE, until=iterations)
    # The table says more than was measured here.
    others = {*COLUMNS} - {"iteration"}
    numbers = [{n: float(v) for n, v in row.items() if isinstance(v, int | float) and n not in others} for row in rows]
    return [row for row in numbers if "gradient_norm" in row]
