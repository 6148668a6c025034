"""How a run goes, apart from what its steps compute: its length, order, device, averaged weights, checkpoints, log.

Key names and defaults are those of mmcv 1.7.2, runner/hooks/{ema,checkpoint}.py and runner/hooks/logger/. The readers
take a Section and put what is wrong into its problems. Standard library only.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from modelscope_beit.settings.intervals import is_count
from modelscope_beit.settings.log_once import log_once
from modelscope_beit.settings.problems import Section

logger = logging.getLogger(__name__)

Order = Literal["shuffled", "class_balanced", "repeated"]

# They serve mmcv's own runner. (PreciseBNHook is none of them: networks of mmcls may have batch statistics.)
_HARMLESS_HOOKS = (
    "DistSamplerSeedHook",
    "IterTimerHook",
    "EmptyCacheHook",
    "SyncBuffersHook",
    "ClassNumCheckHook",
)
_DEFAULT_LOG_INTERVAL = 50
_ORDERS: dict[str, Order] = {
    "DistributedSampler": "shuffled",
    "ClassBalanced": "class_balanced",
    "RepeatAugSampler": "repeated",
}
_DEVICE = re.compile(r"auto|cpu|mps|(?:cuda|gpu)(?::\d+)?")


@dataclass(frozen=True)
class EmaSettings:
    """An average of the weights of all iterations, used for evaluation and saved.

    Every `interval` iterations: average += m * (weights - average), m = min(momentum ** interval,
    (1 + iteration) / (warm_up + iteration)), as mmcv's EMAHook.
    """

    momentum: float = 0.0002
    interval: int = 1
    warm_up: int = 100


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written; interval in epochs or iterations, -1: never; max_keep_ckpts -1: all are kept."""

    interval: int = 1
    by_epoch: bool = True
    max_keep_ckpts: int = -1
    save_optimizer: bool = True
    create_symlink: bool = True
    save_last: bool = True


@dataclass(frozen=True)
class LogSettings:
    """interval: iterations between two lines of the log."""

    interval: int = _DEFAULT_LOG_INTERVAL
    tensorboard: bool = False


def at_least_one(section: Section, name: str) -> int:
    """Returns a count that has to be there; 1 after noting that it cannot be used."""
    value = section.get(name)
    if type(value) is int and value >= 1:
        return value
    section.wrong(name, "a whole number from 1 on is expected")
    return 1


def read_run_length(train: Section) -> tuple[int | None, int | None]:
    """Returns (epochs, iterations) of `train`, one of which is None: its max_epochs, or runner.max_iters.

    train.max_epochs wins over runner.max_epochs, because ModelScope's stock trainer writes it there.
    """
    epochs = train.get("max_epochs")
    runner = train.section("runner") if train.get("runner") else None
    if runner is None:
        return at_least_one(train, "max_epochs"), None
    kind = runner.get("type", "EpochBasedRunner")
    runner.get("max_epochs")
    by_iteration = kind == "IterBasedRunner"
    if kind not in ("EpochBasedRunner", "IterBasedRunner"):
        runner.foreign("type", "EpochBasedRunner and IterBasedRunner are native")
    if runner.get("max_iters") is not None and not by_iteration:
        runner.wrong("max_iters", "only an IterBasedRunner counts iterations; set train.runner.type too")
    runner.note_unknown_keys(harmless=("meta",))
    if by_iteration:
        return None, at_least_one(runner, "max_iters")
    if epochs is not None and runner.mapping.get("max_epochs", epochs) != epochs:
        other = runner.mapping["max_epochs"]
        told = f"train.max_epochs ({epochs}) counts, as for the stock trainer, not train.runner.max_epochs ({other})."
        log_once(logger, logging.WARNING, told)
    return at_least_one(runner if epochs is None else train, "max_epochs"), None


def read_validation_phase(train: Section) -> bool:
    """Tells whether `train.workflow` has a validation phase, which gives the loss on the validation data."""
    workflow = train.get("workflow")
    given = workflow if isinstance(workflow, list) else [workflow]
    phases = [list(phase) if isinstance(phase, tuple | list) else [phase] for phase in given]
    if workflow is None:
        return False
    if len(phases) == 1 and len(phases[0]) == 2 and phases[0][0] == "train" and is_count(phases[0][1], 1):
        return False
    if phases != [["train", 1], ["val", 1]]:
        train.wrong("workflow", "[['train', 1]] or [['train', 1], ['val', 1]] is expected")
    return True


def read_order(train: Section) -> Order:
    """Returns the order of the samples that `train.sampler` names."""
    if not train.get("sampler") or (sampler := train.section("sampler")) is None:
        return "shuffled"
    kind = sampler.get("type")
    if not isinstance(kind, str) or kind not in _ORDERS:
        sampler.foreign("type", f"native are {', '.join(_ORDERS)}, and null, which shuffles")
        kind = "DistributedSampler"
    harmless = ["seed", "shuffle", "round_up"]
    if kind == "RepeatAugSampler":
        # mmcls leaves out what does not fill 256 samples.
        harmless.append("selected_round")
        if sampler.get("num_repeats", 3) != 3:
            sampler.wrong("num_repeats", "3 is expected")
    sampler.note_unknown_keys(harmless=harmless)
    return _ORDERS[kind]


def read_zero_head(train: Section) -> bool:
    """Tells whether `train.head_init` says that the head starts from zeros; null: it starts from the weights."""
    head_init = train.get("head_init")
    if head_init not in (None, "zero"):
        train.wrong("head_init", "null or 'zero' is expected")
    return head_init == "zero"


def read_ema(train: Section) -> EmaSettings | None:
    """Returns what the EMAHook of `train.custom_hooks` says. Hooks that nobody here runs are noted as unknown keys."""
    given = train.get("custom_hooks")
    hooks = given if isinstance(given, list) else [] if given is None else [given]
    found = None
    for index, mapping in enumerate(hooks):
        path = f"{train.path}.custom_hooks[{index}]"
        kind = mapping.get("type") if isinstance(mapping, dict) else mapping
        if isinstance(mapping, dict) and kind == "EMAHook":
            found = _read_ema_hook(Section(mapping, path, train.problems))
        elif kind not in _HARMLESS_HOOKS:
            train.problems.unknown[path] = f"of custom hooks EMAHook is run, and {', '.join(_HARMLESS_HOOKS)} may stand"
    return found


def read_checkpoint(train: Section, *, by_epoch: bool) -> CheckpointSettings:
    """Returns what `train.checkpoint_config` says; null, as in mmcv: no checkpoints.

    by_epoch: whether the runner counts epochs, and so the interval, if nothing is said about it.
    """
    if train.get("checkpoint_config") is None:
        return CheckpointSettings(interval=-1, save_last=False)
    config = train.section("checkpoint_config")
    if config is None:
        return CheckpointSettings()
    settings = CheckpointSettings(
        interval=_positive_or_never(config, "interval"),
        by_epoch=config.flag("by_epoch", by_epoch),
        max_keep_ckpts=_positive_or_never(config, "max_keep_ckpts"),
        save_optimizer=config.flag("save_optimizer", True),
        create_symlink=config.flag("create_symlink", True),
        save_last=config.flag("save_last", True),
    )
    config.note_unknown_keys(harmless=("type", "sync_buffer", "file_client_args", "meta", "priority"))
    return settings


def read_log(train: Section) -> LogSettings:
    """Returns what `train.log_config` says. Loggers that nobody here writes to are noted as unknown keys."""
    if train.get("log_config") is None:
        return LogSettings()
    config = train.section("log_config")
    if config is None:
        return LogSettings()
    interval = at_least_one(config, "interval") if "interval" in config.mapping else _DEFAULT_LOG_INTERVAL
    hooks = [] if config.get("hooks") is None else config.get("hooks")
    if not isinstance(hooks, list):
        config.wrong("hooks", "a list of loggers such as {'type': 'TextLoggerHook'} is expected")
        hooks = []
    kinds = []
    for index, hook in enumerate(hooks):
        path = f"{config.path}.hooks[{index}]"
        kinds.append(hook.get("type") if isinstance(hook, dict) else hook)
        if kinds[-1] == "TextLoggerHook":
            own = Section(hook, path, train.problems)
            interval = at_least_one(own, "interval") if "interval" in own.mapping else interval
        elif kinds[-1] != "TensorboardLoggerHook":
            train.problems.unknown[path] = "TextLoggerHook and TensorboardLoggerHook are the loggers here"
    config.note_unknown_keys()
    return LogSettings(interval, "TensorboardLoggerHook" in kinds)


def read_loader(loader: Section, *, shuffles: bool) -> tuple[int, int]:
    """Returns pictures a batch and threads that prepare them, each a number for one process, of a `dataloader`."""
    batch_size, workers = loader.integer("batch_size_per_gpu", 32), loader.integer("workers_per_gpu", 2)
    if batch_size < 1:
        loader.wrong("batch_size_per_gpu", "a whole number from 1 on is expected")
    if workers < 0:
        loader.wrong("workers_per_gpu", "a whole number from 0 on is expected")
    loader.note_unknown_keys(harmless=("pin_memory", "persistent_workers", "prefetch_factor", "shuffle", "drop_last"))
    for name, always in (("shuffle", shuffles), ("drop_last", False)):
        if loader.get(name, always) is not always:
            loader.problems.unknown[f"{loader.path}.{name}"] = f"it is always {str(always).lower()} here"
    return batch_size, workers


def read_device(root: Section) -> str:
    """Returns "auto", "cpu", "mps", "cuda" or "cuda:1" ... out of `device`, and of `gpu_ids` where that is one GPU."""
    gpu_ids, device = root.get("gpu_ids"), root.get("device")
    device = "auto" if device is None else device
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        root.wrong("device", "choose auto, cpu, mps, cuda or cuda:N")
        return "auto"
    device = device.replace("gpu", "cuda")
    is_one = isinstance(gpu_ids, list) and len(gpu_ids) == 1 and type(gpu_ids[0]) is int and gpu_ids[0] > 0
    if device in ("auto", "cuda") and isinstance(gpu_ids, list) and is_one:
        return f"cuda:{gpu_ids[0]}"
    return device


def read_seed(root: Section) -> int:
    """Returns `seed`; 0 without one, as ModelScope's stock trainer."""
    seed = 0 if root.get("seed") is None else root.integer("seed", 0)
    if seed < 0:
        root.wrong("seed", "a whole number from 0 on is expected")
    return max(seed, 0)


def read_file(train: Section, name: str) -> str | None:
    """Returns the path of a file; None for null and for an empty string."""
    value = train.get(name)
    if value is None or isinstance(value, str | PurePath):
        return str(value or "") or None
    train.wrong(name, "null or the path of a file is expected")
    return None


def _read_ema_hook(hook: Section) -> EmaSettings:
    momentum = hook.number("momentum", 0.0002)
    if not 0 < momentum < 1:
        hook.wrong("momentum", "a number between 0 and 1 is expected: the share of the new weights, e.g. 0.0002")
    settings = EmaSettings(
        momentum,
        at_least_one(hook, "interval") if "interval" in hook.mapping else 1,
        hook.integer("warm_up", 100),
    )
    if hook.get("resume_from") is not None:
        hook.wrong("resume_from", "set train.resume_from; the average is resumed with everything else")
    hook.note_unknown_keys(harmless=("type", "priority"))
    return settings


def _positive_or_never(section: Section, name: str) -> int:
    """Returns a count; -1 where the key is absent, as in mmcv, and for every number below 1."""
    value = section.integer(name, -1)
    return value if value > 0 else -1
