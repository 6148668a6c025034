"""Vision networks of transformers as teachers: CLIP, DINO, DINOv2 and DINOv3."""

import logging
from typing import Any

from torch import Tensor, nn

from modelscope_beit.errors import CheckpointError, SettingsError, require
from modelscope_beit.pretraining.teachers import TeacherNetwork
from modelscope_beit.settings.teacher import TeacherSettings

_logger = logging.getLogger(__name__)

# The kind of a configuration -> class of transformers, and whether it has to be told to interpolate its positions.
_CLIP_KINDS = ("clip", "clip_vision_model")
_PLAIN_KINDS = {
    "vit": ("ViTModel", {"add_pooling_layer": False}, True),
    "dinov2": ("Dinov2Model", {}, False),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", {}, False),
    "dinov3_vit": ("DINOv3ViTModel", {}, False),
}
# What their own processors hold, for folders without one.
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def transformers_teacher(settings: TeacherSettings, grid: tuple[int, int]) -> TeacherNetwork:
    """Returns a network of transformers that sees as many pixels as give it the wanted grid of patches.

    Of CLIP: the patch tokens after its last norm, times its projection; of the others: those after their last norm.
    Raises SettingsError for another kind of network, CheckpointError for weights that are not complete.
    """
    transformers = require("transformers", extra="pretraining", purpose=f"for the teacher {settings.source}")
    try:
        config: Any = transformers.AutoConfig.from_pretrained(settings.source)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"transformers cannot open the teacher {settings.source}: {error} Give a folder that save_pretrained has "
            "written, or an id of the hub while there is a network."
        ) from error
    kind = config.model_type
    is_clip = kind in _CLIP_KINDS
    if is_clip:
        config = _vision_part(config)
        network = _loaded(transformers.CLIPVisionModelWithProjection, settings.source, {"config": config})
    elif kind in _PLAIN_KINDS:
        class_name, options, _ = _PLAIN_KINDS[kind]
        network = _loaded(getattr(transformers, class_name), settings.source, options)
    else:
        raise SettingsError(
            f"The teacher {settings.source} is of the kind {kind!r}, but one of "
            f"{', '.join((*_CLIP_KINDS, *_PLAIN_KINDS))} is expected."
        )
    patch = config.patch_size
    size = (grid[0] * patch, grid[1] * patch)
    if settings.image_size is not None:
        size = (settings.image_size, settings.image_size)
    on_grid = (size[0] // patch, size[1] // patch)
    mean, std = _scaling(transformers, settings.source, is_clip=is_clip)

    def patch_features(images: Tensor) -> Tensor:
        tokens = _clip_tokens(network, images) if is_clip else _plain_tokens(network, kind, images)
        return tokens.transpose(1, 2).unflatten(2, on_grid)

    return TeacherNetwork(network, patch_features, mean, std, size, settings.written)


def _vision_part(config: Any) -> Any:
    """Returns the configuration of CLIP's vision tower; of a whole CLIP, how wide its projection is stands outside."""
    if config.model_type == "clip_vision_model":
        return config
    config.vision_config.projection_dim = config.projection_dim
    return config.vision_config


def _loaded(kind: Any, source: str, options: dict[str, Any]) -> nn.Module:
    """Returns the network; transformers itself would give weights that are missing any values."""
    found, told = kind.from_pretrained(source, output_loading_info=True, **options)
    lacking = sorted({*told["missing_keys"], *(str(key[0]) for key in told.get("mismatched_keys", ()))})
    if lacking:
        raise CheckpointError(
            f"The teacher {source} lacks weights of {kind.__name__}: {', '.join(lacking[:5])}"
            f"{f' and {len(lacking) - 5} more' if len(lacking) > 5 else ''}. Save the whole model, with its projection."
        )
    network: nn.Module = found
    return network


def _clip_tokens(network: Any, images: Tensor) -> Tensor:
    """Returns (N, P, E): unlike its pooled output, CLIP's hidden states have not been through its last norm."""
    states = network.vision_model(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
    tokens: Tensor = network.visual_projection(network.vision_model.post_layernorm(states[:, 1:]))
    return tokens


def _plain_tokens(network: Any, kind: str, images: Tensor) -> Tensor:
    options = {"interpolate_pos_encoding": True} if _PLAIN_KINDS[kind][2] else {}
    num_prefix_tokens = 1 + int(getattr(network.config, "num_register_tokens", 0) or 0)
    tokens: Tensor = network(pixel_values=images, **options).last_hidden_state[:, num_prefix_tokens:]
    return tokens


def _scaling(transformers: Any, source: str, *, is_clip: bool) -> tuple[Any, Any]:
    """Returns mean and std of the processor beside the weights, else those that all published ones have."""
    try:
        processor: Any = transformers.AutoImageProcessor.from_pretrained(source)
        return tuple(processor.image_mean), tuple(processor.image_std)
    except (OSError, ValueError):
        mean, std = (_CLIP_MEAN, _CLIP_STD) if is_clip else (_IMAGENET_MEAN, _IMAGENET_STD)
        _logger.info("There is no image processor beside %s; mean %s and std %s are taken.", source, mean, std)
        return mean, std
