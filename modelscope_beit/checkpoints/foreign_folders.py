"""Reads the configuration files of transformers and timm folders, without these libraries. Standard library only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelscope_beit.checkpoints.files import INDEX_SUFFIX
from modelscope_beit.checkpoints.image_processors import PROCESSOR_FILE, ProcessorRecipe, read_processor, triple
from modelscope_beit.checkpoints.infer import Hints
from modelscope_beit.checkpoints.input_recipes import IMAGENET_MEAN, IMAGENET_STD, InputRecipe
from modelscope_beit.errors import CheckpointError

CONFIG_FILE = "config.json"
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
MASKED_IMAGE_MODEL = "BeitForMaskedImageModeling"
# model_type -> whose processor belongs to it.
_PROCESSORS = {"beit": "Beit", "vit": "ViT", "deit": "DeiT"}
# Arguments of timm's models that change what is computed but not the keys.
_TIMM_REFUSED = ("act_layer", "norm_layer", "embed_norm_layer", "mlp_layer", "class_token", "no_embed_class")


@dataclass(frozen=True)
class ForeignFolder:
    """What the files beside the weights say.

    title: library and architecture. class_names: None where they are only numbered. pooling is among the hints.
    """

    title: str
    weights: Path
    hints: Hints
    recipe: InputRecipe | ProcessorRecipe
    class_names: tuple[str, ...] | None


def read_transformers_folder(folder: Path) -> ForeignFolder:
    """Returns what config.json and preprocessor_config.json of a BEiT, ViT or DeiT folder say.

    Raises CheckpointError for other models, and for what our network or steps cannot express.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    kind = config.get("model_type")
    if kind not in _PROCESSORS:
        raise CheckpointError(f"{path}: model_type is {kind!r}, but only {', '.join(_PROCESSORS)} can be read.")
    if config.get("hidden_act", "gelu") != "gelu":
        raise CheckpointError(f"{path}: hidden_act is {config['hidden_act']!r}, but only 'gelu' can be computed.")
    patch = _square(config.get("patch_size", 16), path)
    height, width = _pair(config.get("image_size", 224))
    _check_beit(config, (height, width), path)
    names = _names(config.get("id2label"))
    pooling: Any = None
    if kind == "beit":
        pooling = "mean" if config.get("use_mean_pooling", True) else "class_token"
    hints = Hints(
        num_heads=config.get("num_attention_heads", 12),
        grid=(height // patch, width // patch),
        layer_norm_eps=config.get("layer_norm_eps", 1e-12),
        pooling=pooling,
    )
    processor = folder / PROCESSOR_FILE
    recipe = read_processor(read_json(processor) if processor.is_file() else {}, _PROCESSORS[kind], processor)
    title = f"transformers {(config.get('architectures') or [f'{kind} model'])[0]}"
    if processor.is_file() and recipe.image_size != (height, width):
        made = "x".join(map(str, recipe.image_size))
        title += f" (its processor makes {made} pixels; the steps here follow the network)"
    return ForeignFolder(title, weights_in(folder), hints, recipe, names)


def read_timm_folder(folder: Path) -> ForeignFolder:
    """Returns what the config.json of a timm folder says.

    Raises CheckpointError for what our network or steps cannot express.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    # Old files have the contents of pretrained_cfg on the top level.
    pretrained = config.get("pretrained_cfg", config)
    arguments = config.get("model_args", {})
    refused = [name for name in _TIMM_REFUSED if name in arguments]
    if refused:
        raise CheckpointError(f"{path}: model_args has {', '.join(refused)}, which our network does not know.")
    height, width = _pair(arguments.get("img_size", list(pretrained.get("input_size", (3, 224, 224)))[1:]))
    patch = arguments.get("patch_size")
    hints = Hints(
        num_heads=arguments.get("num_heads"),
        grid=(height // patch, width // patch) if isinstance(patch, int) else None,
        num_classes=config.get("num_classes") or None,
        pooling={"avg": "mean", "token": "class_token"}.get(config.get("global_pool", "")),  # type: ignore[arg-type]
    )
    recipe, names = timm_recipe(pretrained, path), timm_class_names(config)
    return ForeignFolder(f"timm {config['architecture']}", weights_in(folder), hints, recipe, names)


def timm_recipe(pretrained: Mapping[str, Any], path: Path) -> InputRecipe:
    """Returns how the pictures are prepared that a pretrained_cfg of timm is for; path: where it stands.

    Raises CheckpointError for a crop that is neither of the centre nor of everything.
    """
    if pretrained.get("crop_mode", "center") not in ("center", "squash"):
        raise CheckpointError(f"{path}: crop_mode {pretrained['crop_mode']!r} is unknown; known: center, squash.")
    return InputRecipe(
        triple(pretrained.get("mean", IMAGENET_MEAN), path),
        triple(pretrained.get("std", IMAGENET_STD), path),
        crop_pct=pretrained.get("crop_pct", 0.875),
        interpolation=pretrained.get("interpolation", "bicubic"),
        squash=pretrained.get("crop_mode") == "squash",
    )


def timm_class_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Returns the class names of a timm config.json; timm writes them beside the pretrained_cfg, once did into it."""
    pretrained = config.get("pretrained_cfg", config)
    return _names(config.get("label_names", pretrained.get("label_names", pretrained.get("labels"))))


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object of a file; raises CheckpointError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Expected a JSON object in {path}, but reading it failed: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"Expected a JSON object in {path}, but it holds a {type(content).__name__}.")
    return content


def weights_in(folder: Path, names: tuple[str, ...] = _WEIGHT_FILES) -> Path:
    """Returns the weight file of a folder, or the index of its several files; raises CheckpointError if none."""
    for name in names:
        for path in (folder / name, folder / f"{name}{INDEX_SUFFIX}"):
            if path.is_file():
                return path
    raise CheckpointError(f"Expected weights in {folder}, in one of {', '.join(names)}, but there is none.")


def _check_beit(config: Mapping[str, Any], image_size: tuple[int, int], path: Path) -> None:
    """Raises CheckpointError for networks of transformers that have the keys of ours and compute something else."""
    tables = [name for name in ("use_relative_position_bias", "use_shared_relative_position_bias") if config.get(name)]
    if len(tables) == 2:
        raise CheckpointError(f"{path}: {' and '.join(tables)} are both true; here a network has one of them.")
    if image_size[0] != image_size[1] and (tables or config.get("use_absolute_position_embeddings")):
        raise CheckpointError(
            f"{path}: image_size is {image_size[0]}x{image_size[1]}. transformers' BEiT mixes up the sides of "
            "positions that are not square, so that its numbers are those of no network here."
        )
    if MASKED_IMAGE_MODEL in (config.get("architectures") or ()) and not config.get("use_mean_pooling", True):
        raise CheckpointError(
            f"{path}: use_mean_pooling is false, so that transformers normalises the tokens of this masked-image model "
            "twice in a row; no network here does."
        )


def _names(labels: object) -> tuple[str, ...] | None:
    """Returns class names in the order of the classes; None for transformers' LABEL_0, LABEL_1 ..."""
    if isinstance(labels, Mapping):
        labels = [labels[key] for key in sorted(labels, key=lambda key: int(key))]
    if not isinstance(labels, list) or all(str(label) == f"LABEL_{number}" for number, label in enumerate(labels)):
        return None
    return tuple(str(label) for label in labels)


def _pair(value: Any) -> tuple[int, int]:
    """Returns (height, width) out of one number, a list of two or a mapping with these names."""
    if isinstance(value, Mapping):
        return int(value["height"]), int(value["width"])
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def _square(value: Any, path: Path) -> int:
    height, width = _pair(value)
    if height != width:
        raise CheckpointError(f"{path}: patches of {height}x{width} pixels are not square.")
    return height
