"""Writes a classifier in the formats of others, without their libraries. torch only."""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelscope_beit.checkpoints.convert import from_native
from modelscope_beit.checkpoints.files import write_atomically, write_weights
from modelscope_beit.checkpoints.foreign_folders import CONFIG_FILE
from modelscope_beit.checkpoints.image_processors import PROCESSOR_FILE, write_processor
from modelscope_beit.checkpoints.input_recipes import InputRecipe, recipe_of
from modelscope_beit.checkpoints.key_tables import (
    TIMM_VIT,
    TRANSFORMERS_BEIT,
    TRANSFORMERS_DEIT,
    TRANSFORMERS_DEIT_ONE,
    TRANSFORMERS_VIT,
    UNILM,
    Layout,
)
from modelscope_beit.errors import CheckpointError
from modelscope_beit.settings.configuration import FolderSettings, native_parts
from modelscope_beit.settings.model import BackboneSettings, ModelSettings

_WEIGHTS = "model.safetensors"
# What timm's and unilm's norms have; it cannot be set there.
_FIXED_EPS = 1e-6


def write_unilm(path: str | Path, settings: ModelSettings, tensors: Mapping[str, Tensor]) -> None:
    """Writes a .pth as unilm's fine-tuning programs save and load it: the weights under `model`.

    tensors: under our names. Raises CheckpointError for a network that unilm's BEiT cannot be.
    """
    _check_eps(settings.backbone, "unilm")
    content = {"model": {key: tensor.contiguous() for key, tensor in from_native(tensors, UNILM).items()}}
    write_atomically(Path(path), lambda beside: torch.save(content, beside))


def write_timm(folder: str | Path, settings: FolderSettings, tensors: Mapping[str, Tensor]) -> None:
    """Writes a folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` opens.

    tensors: under our names. A norm's eps below 1e-6 becomes 1e-6 there.
    Raises CheckpointError for a network or steps that timm cannot express.
    """
    model, steps = native_parts(settings, "to be written for timm")
    backbone = model.backbone
    _check_eps(backbone, "timm")
    architecture, arguments = timm_model(model)
    recipe = recipe_of(steps, backbone.image_size)
    pretrained: dict[str, Any] = {
        "input_size": [backbone.in_channels, *backbone.image_size],
        "fixed_input_size": True,
        "num_classes": settings.model.num_classes,
        "interpolation": recipe.interpolation,
        "crop_pct": crop_pct_of(recipe),
        "crop_mode": "squash" if recipe.squash else "center",
        "mean": list(recipe.mean),
        "std": list(recipe.std),
        "first_conv": "patch_embed.proj",
        "classifier": ["head", "head_dist"] if backbone.distilled else "head",
    }
    if settings.class_names is not None:
        pretrained["label_names"] = list(settings.class_names)
    config = {
        "architecture": architecture,
        "num_classes": settings.model.num_classes,
        "num_features": backbone.width,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": pretrained,
    }
    write_folder(Path(folder), from_native(tensors, timm_layout(model)), {CONFIG_FILE: config})


def write_transformers(folder: str | Path, settings: FolderSettings, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Writes a folder that `AutoModelForImageClassification.from_pretrained(FOLDER)` opens, with its processor.

    tensors: under our names. Returns in words what the processor does otherwise than our steps; nothing if its pixels
    are ours.
    Raises CheckpointError for a network or steps that transformers cannot express.
    """
    model, steps = native_parts(settings, "to be written for transformers")
    config = transformers_config(model, settings.class_names)
    name = "BeitImageProcessor" if config["model_type"] == "beit" else "DeiTImageProcessor"
    processor, differences = write_processor(steps, name)
    layout = transformers_layout(model)
    write_folder(Path(folder), from_native(tensors, layout), {CONFIG_FILE: config, PROCESSOR_FILE: processor})
    return differences


def timm_layout(settings: ModelSettings) -> Layout:
    """Returns the key table of the timm model that a network is."""
    return TIMM_VIT if settings.backbone.qkv_bias == "full" or settings.backbone.distilled else UNILM


def timm_model(settings: ModelSettings) -> tuple[str, dict[str, Any]]:
    """Returns the name of the timm architecture that a network is a variant of, and all its arguments.

    Raises CheckpointError for a network that none of timm's three can be.
    """
    backbone = settings.backbone
    arguments: dict[str, Any] = {
        "img_size": list(backbone.image_size),
        "patch_size": backbone.patch_size,
        "embed_dim": backbone.width,
        "depth": backbone.depth,
        "num_heads": backbone.num_heads,
        "mlp_ratio": _mlp_ratio(backbone),
        "qkv_bias": backbone.qkv_bias != "none",
        "init_values": backbone.layer_scale_init,
        "global_pool": "avg" if backbone.pooling == "mean" else "token",
    }
    size = "large" if backbone.depth >= 24 else "base"
    if backbone.distilled:
        if backbone.pooling != "two_tokens":
            raise CheckpointError("timm's distilled DeiT has a head for each of its tokens; this network has one head.")
        return "deit_base_distilled_patch16_224", arguments
    if backbone.qkv_bias == "full":
        if backbone.relative_position != "none" or not backbone.absolute_position:
            raise CheckpointError("timm's ViT has absolute positions and no relative ones; this network differs.")
        return f"vit_{size}_patch16_224", arguments
    arguments["use_abs_pos_emb"] = backbone.absolute_position
    arguments["use_rel_pos_bias"] = backbone.relative_position == "per_layer"
    arguments["use_shared_rel_pos_bias"] = backbone.relative_position == "shared"
    return f"beitv2_{size}_patch16_224", arguments


def transformers_layout(settings: ModelSettings) -> Layout:
    """Returns the key table of the transformers model that a network is."""
    backbone = settings.backbone
    if backbone.distilled:
        return TRANSFORMERS_DEIT if backbone.pooling == "two_tokens" else TRANSFORMERS_DEIT_ONE
    return TRANSFORMERS_BEIT if backbone.qkv_bias == "qv" else TRANSFORMERS_VIT


def transformers_config(settings: ModelSettings, class_names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Returns the config.json of the transformers model that a network is.

    Raises CheckpointError for a network that neither BEiT, ViT nor DeiT can be there.
    """
    backbone = settings.backbone
    labels = class_names or tuple(f"LABEL_{number}" for number in range(settings.num_classes))
    named = {
        "id2label": {str(number): name for number, name in enumerate(labels)},
        "label2id": {name: number for number, name in enumerate(labels)},
    }
    if backbone.qkv_bias == "qv":
        return transformers_beit_config(backbone) | named | {"architectures": ["BeitForImageClassification"]}
    config = _sizes(backbone) | named
    config["qkv_bias"] = backbone.qkv_bias == "full"
    if backbone.distilled:
        suffix = "WithTeacher" if backbone.pooling == "two_tokens" else ""
        return config | {"architectures": [f"DeiTForImageClassification{suffix}"], "model_type": "deit"}
    is_vit = (backbone.relative_position, backbone.absolute_position, backbone.layer_scale_init) == ("none", True, None)
    if not is_vit or backbone.pooling != "class_token":
        raise CheckpointError(
            "transformers has BEiT with query and value biases, and ViT with absolute positions, no layer scale and "
            "the class token as feature; this network is neither."
        )
    return config | {"architectures": ["ViTForImageClassification"], "model_type": "vit"}


def transformers_beit_config(backbone: BackboneSettings) -> dict[str, Any]:
    """Returns what the config.json of any BEiT of transformers says about its backbone.

    Raises CheckpointError for a backbone that BEiT cannot have there.
    """
    if backbone.qkv_bias != "qv":
        raise CheckpointError(
            f"transformers' BEiT has biases of queries and values, not those of qkv_bias {backbone.qkv_bias!r}."
        )
    height, width = backbone.image_size
    if height != width and (backbone.relative_position != "none" or backbone.absolute_position):
        raise CheckpointError(
            f"transformers' BEiT mixes up the sides of positions that are not square, as those for {height}x{width} "
            "pixels; convert to a square size first."
        )
    return _sizes(backbone) | {
        "model_type": "beit",
        "use_mean_pooling": backbone.pooling == "mean",
        "use_absolute_position_embeddings": backbone.absolute_position,
        "use_relative_position_bias": backbone.relative_position == "per_layer",
        "use_shared_relative_position_bias": backbone.relative_position == "shared",
        "layer_scale_init_value": backbone.layer_scale_init or 0.0,
        "use_mask_token": False,
    }


def _sizes(backbone: BackboneSettings) -> dict[str, Any]:
    height, width = backbone.image_size
    return {
        "hidden_size": backbone.width,
        "num_hidden_layers": backbone.depth,
        "num_attention_heads": backbone.num_heads,
        "intermediate_size": backbone.mlp_hidden,
        "hidden_act": "gelu",
        "image_size": height if height == width else [height, width],
        "patch_size": backbone.patch_size,
        "num_channels": backbone.in_channels,
        "layer_norm_eps": backbone.layer_norm_eps,
    }


def crop_pct_of(recipe: InputRecipe) -> float:
    """Returns the share with the fewest digits that gives this resized side by timm's rule, floor(crop / share)."""
    if recipe.resize is None:
        return 1.0
    resized, cropped = recipe.resize
    shares = (round(cropped / resized + offset, digits) for digits in range(2, 9) for offset in (0, -(10.0**-digits)))
    return next(share for share in shares if math.floor(cropped / share) == resized)


def _mlp_ratio(backbone: BackboneSettings) -> float:
    """Returns the ratio from which timm, rounding down, gets the very number of hidden channels."""
    ratio = backbone.mlp_hidden / backbone.width
    exact = int(backbone.width * ratio) == backbone.mlp_hidden
    return ratio if exact else (backbone.mlp_hidden + 0.5) / backbone.width


def _check_eps(backbone: BackboneSettings, library: str) -> None:
    if backbone.layer_norm_eps > _FIXED_EPS:
        raise CheckpointError(
            f"layer_norm_eps is {backbone.layer_norm_eps}, but {library} has {_FIXED_EPS} built in; the results would "
            f"differ visibly."
        )


def write_folder(folder: Path, tensors: Mapping[str, Tensor], files: Mapping[str, object]) -> None:
    """Writes weights (their names) and JSON files into a new or empty folder; raises CheckpointError for others."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists and is not an empty folder; give the name of a new one.")
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / _WEIGHTS, tensors)
    # The configuration comes last, so that nothing opens a half folder.
    for name in sorted(files, key=lambda name: name == CONFIG_FILE):
        text = json.dumps(files[name], indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
