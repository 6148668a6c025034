"""The configuration that training starts with: a folder's own, completed, with another recipe, with other classes."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from modelscope_beit import names
from modelscope_beit.checkpoints.source import open_source
from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.model_folder.card import some_names
from modelscope_beit.model_folder.mm_configuration import run_mm_configuration
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.settings.confidence import CONFIDENCE
from modelscope_beit.settings.configuration import FolderSettings, read_configuration, write_configuration
from modelscope_beit.settings.fine_tuning_defaults import default_loss, fine_tuning_defaults
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.foreign_steps import picture_size, write_preprocessing
from modelscope_beit.settings.hub_push import take_push_settings
from modelscope_beit.settings.problems import plain

_logger = logging.getLogger(__name__)

# Keys of a network's parts that leave its weights as they are.
_DECIDED_BY_A_RECIPE = {
    "backbone": frozenset(
        "img_size drop_rate drop_path_rate attn_drop_rate path_dropout".split()
        + "frozen_stages norm_eval with_cp init_scale".split()
    ),
    "head": frozenset(("loss", "init_cfg", "topk", "cal_acc")),
}


def complete_configuration(folder: Path, *, trust_remote_code: bool = False) -> dict[str, object]:
    """Returns a folder's configuration with everything that a training script may ask for: `train` and so on.

    folder: also a weight file alone, whose network it tells, with the published way to prepare pictures.
    A config.py is only run with trust, and only counts where configuration.json does not describe the network; so it
    is with ModelScope's stock trainer. Its recipe fills in what configuration.json, if there is one, does not say.
    Raises BeitError if there is no configuration or the network is not described.
    """
    if folder.is_file():
        source = open_source(folder)
        settings = FolderSettings(source.settings, source.preprocessing)
        return with_training_sections(write_configuration(settings), str(folder))
    file = folder / names.CONFIGURATION_FILE
    code = folder / names.MM_CONFIGURATION_FILE
    content = read_configuration_file(file) if file.exists() or not code.exists() else {}
    model = content.get("model")
    if code.exists() and not (isinstance(model, Mapping) and "mm_model" in model):
        read_folder_settings(folder, trust_remote_code=trust_remote_code)
        content = _with_mm_configuration(content, cast(dict[str, Any], run_mm_configuration(code)))
        file = code
    return with_training_sections(content, str(file))


def with_training_sections(configuration: Mapping[str, object], where: str) -> dict[str, object]:
    """Returns a copy with the sections for training that it lacks, and with places for what the hub's scripts set.

    Scripts assign `cfg.train.lr_config.warmup_iters` or `head.loss.num_classes`, so these parents have to be there.
    What `beit calibrate` has stored is left out: it is for other weights than the trained ones.
    Raises SettingsError if the network or its preprocessing cannot be read.
    """
    settings = read_configuration(configuration, where)
    content: Any = plain(configuration)
    _forget_pushes(content, where)
    if content.pop(CONFIDENCE, None) is not None:
        _logger.info("%s is calibrated; that is for its own weights, so the trained ones start without it.", where)
    steps = write_preprocessing(settings.preprocessing)
    defaults = fine_tuning_defaults(picture_size(settings.model.image_size, steps), steps)
    if "max_epochs" in ((content.get("train") or {}).get("runner") or {}):
        cast(dict[str, object], defaults["train"]).pop("max_epochs")
    for name, section in defaults.items():
        content[name] = {**dict(section), **(content.get(name) or {})}  # type: ignore[call-overload]
    content["dataset"] = {"classes": None, **(content.get("dataset") or {})}
    for place in (content["train"], content["evaluation"]):
        place["dataloader"] = place.get("dataloader") or {"batch_size_per_gpu": 32, "workers_per_gpu": 2}
    if not isinstance(settings.model, MmclsModelSettings):
        content["model"]["mm_model"]["head"].setdefault("loss", default_loss(settings.model.num_classes))
    return dict(content)


def with_recipe_of(configuration: Mapping[str, object], file: Path) -> dict[str, object]:
    """Returns a copy with the recipe of another configuration file: how to train, validate and prepare pictures.

    What the file says in `train`, `evaluation`, `preprocessor` and `model.mm_model` goes before, each of their keys as
    a whole. Of backbone and head only what a recipe decides: the network is the folder's own, whatever its size, and
    class counts follow the data.
    """
    recipe, merged = read_configuration_file(file), cast(dict[str, Any], plain(configuration))
    _forget_pushes(recipe, str(file))
    for name in ("train", "evaluation", "preprocessor"):
        merged[name] = {**merged.get(name, {}), **recipe.get(name, {})}
    before = merged["model"]["mm_model"]
    for name, value in recipe.get("model", {}).get("mm_model", {}).items():
        if name in _DECIDED_BY_A_RECIPE:
            of_recipe = {key: part for key, part in value.items() if key in _DECIDED_BY_A_RECIPE[name]}
            before[name] = {**before.get(name, {}), **of_recipe}
        elif name not in ("type", "neck", "pretrained"):
            before[name] = value
    own_counts = counted_sections(plain(configuration))
    for section in counted_sections(merged).values():
        if "num_classes" in section:
            section["num_classes"] = own_counts["model.mm_model.head"].get("num_classes")
    return merged


def with_class_count(
    configuration: Mapping[str, object], original: Mapping[str, object], class_names: Sequence[str]
) -> dict[str, object]:
    """Returns a copy in which head, loss and augmentations have as many classes as the data.

    A count that the user has set, so one that is not the original's, has to be right: SettingsError tells both.
    """
    content: Any = plain(configuration)
    counted = counted_sections(content)
    before = {path: section.get("num_classes") for path, section in counted_sections(plain(original)).items()}
    number = len(class_names)
    problems = []
    for path, section in counted.items():
        count = section.get("num_classes")
        if count not in (None, number, before.get(path)):
            problems.append(
                f"{path}.num_classes is {count}, but the data have {number} classes ({some_names(tuple(class_names))})"
            )
        if count is not None or path.endswith(".head"):
            section["num_classes"] = number
    if problems:
        advice = f"Set it to {number} or leave it out: it follows the data."
        raise SettingsError("\n- ".join(["The settings and the data do not fit together:", *problems, advice]))
    return dict(content)


def counted_sections(content: Any) -> dict[str, dict[str, Any]]:
    """Returns path -> each section of a configuration that has, or may have, a class count: head, loss, mixing."""
    mm_model = content["model"]["mm_model"]
    found = {"model.mm_model.head": mm_model["head"], "model.mm_model.head.loss": mm_model["head"].get("loss")}
    train_cfg = mm_model.get("train_cfg")
    augments = train_cfg.get("augments") if isinstance(train_cfg, dict) else None
    for index, augment in enumerate(augments if isinstance(augments, list) else [augments]):
        found[f"model.mm_model.train_cfg.augments[{index}]"] = augment
    return {path: section for path, section in found.items() if isinstance(section, dict)}


def read_configuration_file(file: Path) -> dict[str, Any]:
    """Returns the JSON object of a configuration file; raises ModelFolderError or SettingsError if it holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(
            f"{file} must be a JSON file that describes a model or a run, but it cannot be read as one: {error}"
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} must hold a JSON object, not {type(content).__name__}.")
    return content


def _forget_pushes(content: dict[str, Any], where: str) -> None:
    """Drops, in place, what a file says about pushing.

    Whoever made the folder must not say where weights go that somebody else trains, and a token must not be handed on.
    """
    taken = take_push_settings(content)
    if any(settings.get("push_to_hub") for settings in taken.values()):
        _logger.warning(
            "%s asks to push to a hub, in %s. Only what you say yourself counts: set push_to_hub in cfg_modify_fn or "
            "as an argument of the trainer, or use `%s publish` afterwards.",
            where,
            ", ".join(taken),
            names.COMMAND,
        )


def _with_mm_configuration(content: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """Returns what configuration.json and config.py say together; the network and its preprocessing are the latter's.

    described: what run_mm_configuration makes of config.py.
    """
    whole = {**content, **described}
    for name in ("train", "evaluation", "preprocessor"):
        whole[name] = {**described.get(name, {}), **(content.get(name) or {})}
    whole["preprocessor"]["val"] = described["preprocessor"].get("val")
    return whole
