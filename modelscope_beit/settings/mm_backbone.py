"""Reads and writes the `backbone` of an mm_model: ModelScope's BEiTv2, and of mmcls 0.25 VisionTransformer and
DistilledVisionTransformer.

Key names, defaults and sizes follow modelscope/models/cv/image_classification/backbones/beit_v2.py and
mmcls/models/backbones/vision_transformer.py and deit.py. Some keys are ours, written only where they are needed, so
that the stock classes refuse what they would get wrong: norm_cfg and use_key_bias (of BEiTv2), frozen_stages and
init_scale (of the other two), table_resize and with_cp; `arch` may be a mapping in all.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import get_args

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.model import (
    ARCHITECTURES,
    Architecture,
    BackboneSettings,
    Pooling,
    QkvBias,
    RelativePosition,
    TableResize,
)
from modelscope_beit.settings.problems import Section

BEIT_V2 = "BEiTv2"
# The same network with the same keywords, as mmcls's own configurations name it; see openmmlab/backbone.py.
BEIT_IN_MMCLS = "BeitBackbone"
VISION_TRANSFORMER = "VisionTransformer"
DISTILLED_VISION_TRANSFORMER = "DistilledVisionTransformer"

_BEIT_V2_SIZES = {name: ARCHITECTURES[name] for name in ("base", "large", "huge", "giant")}
# mmcls's "small" is not the small of DeiT: it has 8 layers of width 768.
_VISION_TRANSFORMER_SIZES = {
    "small": Architecture(768, 8, 8, 2304),
    "base": ARCHITECTURES["base"],
    "large": ARCHITECTURES["large"],
    "deit-tiny": ARCHITECTURES["tiny"],
    "deit-small": ARCHITECTURES["small"],
    "deit-base": ARCHITECTURES["base"],
}
_SHORT_NAMES = {
    "s": "small",
    "b": "base",
    "l": "large",
    "deit-t": "deit-tiny",
    "deit-s": "deit-small",
    "deit-b": "deit-base",
}
_ARCHITECTURE_KEYS = {
    "width": "embed_dims",
    "depth": "num_layers",
    "num_heads": "num_heads",
    "mlp_hidden": "feedforward_channels",
}
# mmcv's build_norm_layer fills in this one when norm_cfg has no eps.
_MMCV_DEFAULT_EPS = 1e-5


def read_beit_v2(section: Section) -> tuple[BackboneSettings | None, float]:
    """Returns the settings of a BEiTv2 backbone and its init_scale, the factor on a fresh head.

    None stands for settings that contradict each other; what is wrong goes to the section's problems.
    """
    size = _read_architecture(section, _BEIT_V2_SIZES, {})
    values = _read_shared_keys(section, channels_key="in_chans")
    scale = 0.0 if section.get("init_values") is None else section.number("init_values", 0.0)
    _check_attention_scale(section, size)
    if section.get("norm_layer") is not None:
        section.wrong("norm_layer", "write norm_cfg {type: LN, eps: ...} instead")
    settings = _build(
        section,
        **dataclasses.asdict(size),
        **values,
        qkv_bias=_read_beit_qkv_bias(section),
        attention_dropout=section.number("attn_drop_rate", 0.0),
        relative_position=_read_relative_position(section),
        absolute_position=section.flag("use_abs_pos_emb", True),
        layer_scale_init=scale if scale > 0 else None,
        pooling="mean" if section.flag("use_mean_pooling", True) else "class_token",
        layer_norm_eps=_read_eps(section),
    )
    init_scale = section.number("init_scale", 0.001)
    section.refuse_unknown_keys(harmless=("type", "init_cfg", "out_indices"))
    return settings, init_scale


def read_vision_transformer(section: Section, pooling: Pooling) -> tuple[BackboneSettings | None, float]:
    """Returns the settings of mmcls's VisionTransformer and the factor on a fresh head; see read_beit_v2.

    pooling: what the head beside it wants.
    """
    size = _read_architecture(section, _VISION_TRANSFORMER_SIZES, _SHORT_NAMES)
    values = _read_shared_keys(section, channels_key="in_channels")
    layers = section.get("layer_cfgs")
    attention_dropout = 0.0
    if isinstance(layers, Mapping) and set(layers) <= {"attn_drop_rate"}:
        layer = Section(layers, f"{section.path}.layer_cfgs", section.problems)
        attention_dropout = layer.number("attn_drop_rate", 0.0)
    elif layers:
        section.foreign("layer_cfgs", "only attn_drop_rate, one for all layers, is native")
    for name in ("final_norm", "with_cls_token", "output_cls_token"):
        if not section.flag(name, True):
            section.foreign(name, "only true is native")
    if section.get("patch_cfg"):
        section.foreign("patch_cfg", "only an empty patch_cfg is native")
    _check_last_output(section, size.depth)
    settings = _build(
        section,
        **dataclasses.asdict(size),
        **values,
        qkv_bias="full" if section.flag("qkv_bias", True) else "none",
        attention_dropout=attention_dropout,
        relative_position="none",
        absolute_position=True,
        layer_scale_init=None,
        pooling=pooling,
        distilled=section.get("type") == DISTILLED_VISION_TRANSFORMER,
        layer_norm_eps=_read_eps(section),
    )
    init_scale = section.number("init_scale", 0.001)
    section.refuse_unknown_keys(harmless=("type", "init_cfg", "interpolate_mode"))
    return settings, init_scale


def is_vision_transformer(backbone: BackboneSettings) -> bool:
    """Tells whether mmcls's VisionTransformer is this network, plain or distilled."""
    return (
        backbone.qkv_bias != "qv"
        and backbone.relative_position == "none"
        and backbone.absolute_position
        and backbone.layer_scale_init is None
        and backbone.pooling != "mean"
    )


def backbone_type(backbone: BackboneSettings) -> str:
    """Returns the type that a network is written under."""
    if not is_vision_transformer(backbone):
        return BEIT_V2
    return DISTILLED_VISION_TRANSFORMER if backbone.distilled else VISION_TRANSFORMER


def write_backbone(backbone: BackboneSettings, head_init_scale: float) -> dict[str, object]:
    """Returns the `backbone` mapping that read_beit_v2 or read_vision_transformer reads back unchanged."""
    is_vit = is_vision_transformer(backbone)
    height, width = backbone.image_size
    written: dict[str, object] = {
        "type": backbone_type(backbone),
        "arch": _name_architecture(backbone, _VISION_TRANSFORMER_SIZES if is_vit else _BEIT_V2_SIZES),
        "img_size": height if height == width else [height, width],
        "patch_size": backbone.patch_size,
        "qkv_bias": backbone.qkv_bias != "none",
        "drop_path_rate": backbone.drop_path,
    }
    if not is_vit:
        written |= {
            # 0, not null: the stock class compares it with a number.
            "init_values": backbone.layer_scale_init or 0,
            "use_abs_pos_emb": backbone.absolute_position,
            "use_rel_pos_bias": backbone.relative_position == "per_layer",
            "use_shared_rel_pos_bias": backbone.relative_position == "shared",
            "use_mean_pooling": backbone.pooling == "mean",
        }
    optional = {
        "in_channels" if is_vit else "in_chans": (backbone.in_channels, 3),
        "drop_rate": (backbone.dropout, 0.0),
        "frozen_stages": (backbone.frozen_stages, -1),
        "init_scale": (head_init_scale, 0.001),
        "norm_cfg": ({"type": "LN", "eps": backbone.layer_norm_eps}, {"type": "LN", "eps": 1e-6}),
        "use_key_bias": (backbone.qkv_bias == "full" and not is_vit, False),
        "table_resize": (backbone.table_resize, "unilm"),
        "with_cp": (backbone.gradient_checkpointing, False),
    }
    attention: object = backbone.attention_dropout
    if is_vit:
        optional["layer_cfgs"] = ({"attn_drop_rate": attention}, {"attn_drop_rate": 0.0})
    else:
        optional["attn_drop_rate"] = (attention, 0.0)
    return written | {name: value for name, (value, default) in optional.items() if value != default}


def _read_architecture(section: Section, sizes: dict[str, Architecture], aliases: dict[str, str]) -> Architecture:
    arch = section.get("arch", "base")
    if isinstance(arch, str):
        name = aliases.get(arch.lower(), arch.lower())
        if name in sizes:
            return sizes[name]
        nearest = difflib.get_close_matches(name, sizes, n=1)
        hint = f"did you mean {nearest[0]}? Otherwise " if nearest else ""
        keys = ", ".join(_ARCHITECTURE_KEYS.values())
        section.wrong("arch", f"{hint}choose one of {', '.join(sizes)}, or write a mapping with {keys}")
        return sizes["base"]
    custom = section.section("arch")
    if custom is None:
        return sizes["base"]
    for key in _ARCHITECTURE_KEYS.values():
        if key not in custom.mapping:
            custom.wrong(key, "a whole number is expected")
    default = dataclasses.asdict(sizes["base"])
    size = Architecture(
        **{
            field: custom.integer(key, default[field]) if key in custom.mapping else default[field]
            for field, key in _ARCHITECTURE_KEYS.items()
        }
    )
    custom.refuse_unknown_keys()
    return size


def _name_architecture(backbone: BackboneSettings, sizes: dict[str, Architecture]) -> object:
    size = Architecture(backbone.width, backbone.depth, backbone.num_heads, backbone.mlp_hidden)
    for name, named in sizes.items():
        if named == size:
            return name
    return {key: getattr(size, field) for field, key in _ARCHITECTURE_KEYS.items()}


def _read_shared_keys(section: Section, *, channels_key: str) -> dict[str, object]:
    patch = section.sides("patch_size", 16)
    if patch[0] != patch[1]:
        section.wrong("patch_size", "only square patches can be used")
    resize = section.get("table_resize", "unilm")
    if resize not in get_args(TableResize):
        section.wrong("table_resize", f"choose one of {', '.join(get_args(TableResize))}")
        resize = "unilm"
    return {
        "image_size": section.sides("img_size", 224),
        "patch_size": patch[0],
        "in_channels": section.integer(channels_key, 3),
        "dropout": section.number("drop_rate", 0.0),
        "drop_path": section.number("drop_path_rate", 0.0),
        "frozen_stages": section.integer("frozen_stages", -1),
        "gradient_checkpointing": section.flag("with_cp", False),
        "table_resize": resize,
    }


def _read_beit_qkv_bias(section: Section) -> QkvBias:
    has_bias = section.flag("qkv_bias", False)
    if section.flag("use_key_bias", False):
        if not has_bias:
            section.wrong("use_key_bias", "qkv_bias must be true with it")
        return "full"
    return "qv" if has_bias else "none"


def _read_relative_position(section: Section) -> RelativePosition:
    per_layer = section.flag("use_rel_pos_bias", False)
    shared = section.flag("use_shared_rel_pos_bias", False)
    if per_layer and shared:
        section.foreign("use_shared_rel_pos_bias", "use_rel_pos_bias is true too; only one of them is native")
    if shared:
        return "shared"
    return "per_layer" if per_layer else "none"


def _read_eps(section: Section) -> float:
    """Reads norm_cfg; without one, all stock classes take 1e-6."""
    if section.get("norm_cfg") is None:
        return 1e-6
    norm = section.section("norm_cfg")
    if norm is None:
        return 1e-6
    if norm.get("type", "LN") != "LN":
        norm.foreign("type", "only LN (layer norm) is native")
    eps = norm.number("eps", _MMCV_DEFAULT_EPS)
    norm.refuse_unknown_keys(harmless=("requires_grad",))
    return eps


def _check_attention_scale(section: Section, size: Architecture) -> None:
    """Only head width ** -0.5 can scale the attention logits; for the stock class 0 means that as well."""
    scale = section.get("qk_scale")
    # A width that the heads do not divide is told elsewhere.
    usual = max(size.width // max(size.num_heads, 1), 1) ** -0.5
    if scale and not (isinstance(scale, int | float) and abs(scale - usual) <= 1e-9):
        section.foreign("qk_scale", f"only null or {usual:.9g} (head width ** -0.5) is native")


def _check_last_output(section: Section, depth: int) -> None:
    chosen = section.get("out_indices", -1)
    last = chosen[-1] if isinstance(chosen, list | tuple) and chosen else chosen
    if last not in (-1, depth - 1):
        section.foreign("out_indices", f"only the last block ({depth - 1} or -1) is native")


def _build(section: Section, **values: object) -> BackboneSettings | None:
    try:
        return BackboneSettings(**values)  # type: ignore[arg-type]
    except SettingsError as error:
        section.problems.wrong.append(f"{section.path}: {error}")
        return None
