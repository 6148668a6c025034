"""The trainer's configuration: as scripts see it (ModelScope's Config, which they change), and as a plain mapping."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from modelscope.utils.config import Config

from modelscope_beit.errors import SettingsError
from modelscope_beit.plugin.trainer_arguments import TrainerArguments
from modelscope_beit.settings.problems import plain, shown

DEFAULT_WORK_DIR = "./work_dir"
# Where make_config puts the trainer's arguments, beside train.resume_from and train.load_from.
_ARGUMENTS = ("work_dir", "device", "gpu_ids", "fp16", "no_validate", "deterministic", "seed")


def make_config(content: Mapping[str, object], file: Path, arguments: TrainerArguments, seed: int) -> Config:
    """Returns what cfg_modify_fn gets: the content of a configuration file, and the arguments where scripts look.

    The places are those of the stock trainer: work_dir, device, gpu_ids, fp16, no_validate, seed, train.resume_from,
    train.load_from.
    """
    cfg = Config(dict(content), filename=str(file))
    cfg.work_dir = arguments.work_dir or cfg.train.get("work_dir") or DEFAULT_WORK_DIR
    cfg.train.resume_from = arguments.resume_from or cfg.train.get("resume_from")
    # A file's own load_from is a path on the machine of whoever trained it.
    cfg.train.load_from = arguments.load_from
    # A file that asks for a GPU was written where there was one.
    cfg.device = arguments.device or ("cpu" if cfg.get("device") == "cpu" else "auto")
    cfg.gpu_ids = list(arguments.gpu_ids or [0])[:1]
    cfg.fp16 = cfg.get("fp16") if arguments.fp16 is None else arguments.fp16 or None
    if arguments.fp16:
        # The keyword goes before the file's own word for the same thing.
        cfg.train.pop("precision", None)
    cfg.no_validate = arguments.no_validate
    cfg.deterministic = arguments.deterministic
    cfg.seed = seed
    return cfg


def modified_config(cfg: Config, cfg_modify_fn: Callable[[Config], Any] | None) -> Config:
    """Returns what the function makes of the configuration.

    The function may change it in place and return nothing, or return another one, which then counts as a whole; only
    the trainer's arguments are added where it lacks them. A new train.work_dir counts too, as TrainingArgs writes it.
    Raises SettingsError if it returns something else, or a configuration that describes no network.
    """
    if cfg_modify_fn is None:
        return cfg
    before = copy.deepcopy(cfg)
    returned = cfg_modify_fn(cfg)
    if returned is None or returned is cfg:
        return _with_new_work_dir(cfg, before)
    if isinstance(returned, Mapping):
        returned = Config(plain(returned), filename=cfg.filename)
    if not isinstance(returned, Config):
        raise SettingsError(
            f"cfg_modify_fn returned {shown(returned)}; a configuration is expected, or nothing after changing the one "
            "that it got."
        )
    if returned.safe_get("model.mm_model.backbone") is None:
        raise SettingsError(
            "cfg_modify_fn returned a configuration without model.mm_model.backbone, so there is no network to train. "
            "What it returns replaces the model's configuration: change the one that it gets, and return that one. "
            "With ModelScope's TrainingArgs: pass --use_model_config true."
        )
    for name in _ARGUMENTS:
        if name not in returned:
            returned[name] = before[name]
    return _with_new_work_dir(returned, before)


def set_max_epochs(cfg: Config, max_epochs: int | None) -> int | None:
    """Writes the number of epochs, if one is given, and returns the one that counts; None: iterations are counted."""
    if max_epochs is not None:
        cfg.train.max_epochs = max_epochs
    runner = cfg.train.get("runner")
    epochs: int | None = cfg.train.get("max_epochs")
    if epochs is None and runner:
        epochs = runner.get("max_epochs")
    elif epochs is not None and runner:
        runner.max_epochs = epochs
    return epochs


def plain_configuration(cfg: Config) -> dict[str, object]:
    """Returns the configuration as dicts and lists.

    Class counts that were written for an augmentation that the configuration does not have are dropped: a script for
    all models of the hub writes `train_cfg.augments.0.num_classes` whether there is one or not.
    """
    configuration = cast(dict[str, Any], plain(cfg.to_dict()))
    mm_model = configuration.get("model", {}).get("mm_model")
    train_cfg = mm_model.get("train_cfg") if isinstance(mm_model, dict) else None
    augments = train_cfg.get("augments") if isinstance(train_cfg, dict) else None
    if isinstance(augments, dict) and augments and all(place.isdecimal() for place in augments):
        mm_model["train_cfg"]["augments"] = [one for one in augments.values() if not _is_class_count(one)]
    return configuration


def _with_new_work_dir(cfg: Config, before: Config) -> Config:
    new = cfg.get("train", {}).get("work_dir")
    if new is not None and new != before.train.get("work_dir") and cfg.work_dir == before.work_dir:
        cfg.work_dir = new
    return cfg


def _is_class_count(value: object) -> bool:
    return isinstance(value, dict) and value.keys() <= {"num_classes"}
