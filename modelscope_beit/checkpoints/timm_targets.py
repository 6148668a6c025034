"""Writes a network of timm as timm's own folders are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelscope_beit.checkpoints.foreign_folders import CONFIG_FILE
from modelscope_beit.checkpoints.input_recipes import InputRecipe, recipe_of
from modelscope_beit.checkpoints.targets import crop_pct_of, write_folder
from modelscope_beit.errors import CheckpointError
from modelscope_beit.names import HEAD_PREFIX
from modelscope_beit.network.timm_classifier import TIMM_PREFIX, build_timm_network
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_models import TimmModelSettings
from modelscope_beit.settings.foreign_steps import ForeignSteps, picture_size, write_preprocessing

_OUR_HEAD = f"{HEAD_PREFIX}fc."


def write_timm_network(folder: str | Path, settings: FolderSettings, tensors: Mapping[str, Tensor]) -> None:
    """Writes a folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` opens.

    settings: of a network of timm. tensors: under our names.
    Raises CheckpointError for steps that timm cannot express and for a folder that is not empty.
    """
    model, steps = settings.model, settings.preprocessing
    assert isinstance(model, TimmModelSettings), "others have no architecture of timm"
    if isinstance(steps, ForeignSteps):
        raise CheckpointError("; ".join(["Steps of mmcls cannot be written for timm", *steps.reasons]))
    height, width = picture_size(None, write_preprocessing(steps))
    arguments = model.arguments | ({} if model.in_channels == 3 else {"in_chans": model.in_channels})
    with torch.device("meta"):
        network: Any = build_timm_network(
            model.model_name, "model.mm_model.backbone", **arguments, num_classes=model.num_classes
        )
    names = network.default_cfg
    pretrained = {
        "input_size": [model.in_channels, height, width],
        "num_classes": model.num_classes,
        "first_conv": names["first_conv"],
        "classifier": names["classifier"],
    }
    config = {
        "architecture": model.model_name,
        "num_classes": model.num_classes,
        "num_features": network.num_features,
        "global_pool": "avg",
        "model_args": arguments,
        "pretrained_cfg": pretrained | _preprocessing(recipe_of(steps, (height, width))),
    }
    if settings.class_names is not None:
        config["label_names"] = list(settings.class_names)
    write_folder(Path(folder), _under_their_names(tensors, network), {CONFIG_FILE: config})


def _preprocessing(recipe: InputRecipe) -> dict[str, object]:
    return {
        "interpolation": recipe.interpolation,
        "crop_pct": crop_pct_of(recipe),
        "crop_mode": "squash" if recipe.squash else "center",
        "mean": list(recipe.mean),
        "std": list(recipe.std),
    }


def _under_their_names(tensors: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    classifier = network.default_cfg["classifier"]
    found = {}
    for key, tensor in tensors.items():
        if key.startswith(_OUR_HEAD):
            found[f"{classifier}.{key.removeprefix(_OUR_HEAD)}"] = tensor
        else:
            found[key.removeprefix(TIMM_PREFIX)] = tensor
    # Some of timm's classifiers are convolutions.
    weight = f"{classifier}.weight"
    found[weight] = found[weight].reshape(network.get_classifier().weight.shape)
    return found
