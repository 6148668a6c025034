"""Reads and writes `model.mm_model`, the mmcls classifier inside a hub configuration, without mmcls.

Native: ImageClassifier with a BEiTv2 (or BeitBackbone) and a LinearClsHead, with a VisionTransformer and a
VisionTransformerClsHead, or with a DistilledVisionTransformer and a DeiTClsHead. Two pairs are ours and stop mmcls: a
VisionTransformerClsHead on a distilled backbone (it gets the class token, as in transformers'
DeiTForImageClassification), and a LinearClsHead with a hidden_dim. Losses, train_cfg and the other keys that concern
training only are left alone.
"""

from collections.abc import Mapping

from modelscope_beit.settings.mm_backbone import (
    BEIT_IN_MMCLS,
    BEIT_V2,
    DISTILLED_VISION_TRANSFORMER,
    VISION_TRANSFORMER,
    backbone_type,
    read_beit_v2,
    read_vision_transformer,
    write_backbone,
)
from modelscope_beit.settings.model import BackboneSettings, ModelSettings
from modelscope_beit.settings.problems import Problems, Section, shown

CLASSIFIER = "ImageClassifier"
_CLASS_TOKEN_HEAD = "VisionTransformerClsHead"
_TWO_TOKENS_HEAD = "DeiTClsHead"
_HEADS = {
    BEIT_V2: ("LinearClsHead",),
    BEIT_IN_MMCLS: ("LinearClsHead",),
    VISION_TRANSFORMER: (_CLASS_TOKEN_HEAD,),
    DISTILLED_VISION_TRANSFORMER: (_TWO_TOKENS_HEAD, _CLASS_TOKEN_HEAD),
}
# What is kept as it is, unread: it has no influence on a trained network.
_TRAINING_KEYS = ("train_cfg", "test_cfg", "init_cfg")
_TRAINING_KEYS_OF_BACKBONE = ("init_cfg", "out_indices", "interpolate_mode")
_TRAINING_KEYS_OF_HEAD = ("loss", "topk", "cal_acc", "init_cfg", "act_cfg")


def read_mm_model(mm_model: Mapping[str, object], where: str = "model.mm_model") -> ModelSettings:
    """Returns the settings of the network that an mm_model describes.

    where: the key path that messages begin with. Raises SettingsError that lists every problem.
    """
    problems = Problems()
    settings = collect_mm_model(mm_model, where, problems)
    problems.raise_if_any("The mm_model")
    assert settings is not None, "an mm_model without problems has settings"
    return settings


def is_native(mm_model: Mapping[str, object]) -> bool:
    """Tells whether the native network can be this mm_model.

    False: mmcls has to build it. True says nothing about mistakes in it: read_mm_model names those.
    """
    problems = Problems()
    collect_mm_model(mm_model, "model.mm_model", problems)
    return not problems.foreign


def collect_mm_model(mm_model: Mapping[str, object], path: str, problems: Problems) -> ModelSettings | None:
    """Reads an mm_model as read_mm_model does, but adds what is wrong to `problems`.

    Returns None where there is nothing to build.
    """
    classifier = Section(mm_model, path, problems)
    if classifier.get("type", CLASSIFIER) != CLASSIFIER:
        classifier.foreign("type", f"only {CLASSIFIER} is native")
        return None
    if classifier.get("neck"):
        classifier.foreign("neck", "only null is native")
    backbone_section, head = classifier.section("backbone"), classifier.section("head")
    classifier.refuse_unknown_keys(harmless=("pretrained", *_TRAINING_KEYS))
    if backbone_section is None or head is None:
        return None
    kind = backbone_section.get("type")
    if kind in (BEIT_V2, BEIT_IN_MMCLS):
        backbone, init_scale = read_beit_v2(backbone_section)
    elif kind in (VISION_TRANSFORMER, DISTILLED_VISION_TRANSFORMER):
        has_both = kind == DISTILLED_VISION_TRANSFORMER and head.get("type") != _CLASS_TOKEN_HEAD
        backbone, init_scale = read_vision_transformer(backbone_section, "two_tokens" if has_both else "class_token")
    else:
        backbone_section.foreign("type", f"native are {', '.join(_HEADS)}")
        return None
    num_classes, hidden_width = _read_head(head, _HEADS[str(kind)], backbone)
    if backbone is None or num_classes < 1 or hidden_width == 0:
        return None
    return ModelSettings(backbone, num_classes, init_scale, hidden_width)


def write_mm_model(settings: ModelSettings) -> dict[str, object]:
    """Returns the mm_model of a network, as the hub writes it; read_mm_model reads the same settings back."""
    backbone = settings.backbone
    is_two_tokens_head = backbone.pooling == "two_tokens"
    head: dict[str, object] = {
        "type": _TWO_TOKENS_HEAD if is_two_tokens_head else _HEADS[backbone_type(backbone)][-1],
        "num_classes": settings.num_classes,
        "in_channels": backbone.width,
    }
    if settings.hidden_width is not None:
        head["hidden_dim"] = settings.hidden_width
    return {
        "type": CLASSIFIER,
        "pretrained": None,
        "backbone": write_backbone(backbone, settings.head_init_scale),
        "neck": None,
        "head": head,
    }


def training_part(mm_model: Mapping[str, object]) -> dict[str, object]:
    """Returns what an mm_model holds beside the network: losses, mixing of samples, initialisation, comments."""
    kept = {name: value for name, value in mm_model.items() if _is_kept(name, _TRAINING_KEYS)}
    for part, names in (("backbone", _TRAINING_KEYS_OF_BACKBONE), ("head", _TRAINING_KEYS_OF_HEAD)):
        section = mm_model[part]
        assert isinstance(section, Mapping), "an mm_model that was read has a backbone and a head"
        kept[part] = {name: value for name, value in section.items() if _is_kept(name, names)}
    return kept


def _is_kept(name: str, names: tuple[str, ...]) -> bool:
    return name in names or name.startswith("_")


def _read_head(
    head: Section, known_types: tuple[str, ...], backbone: BackboneSettings | None
) -> tuple[int, int | None]:
    """Returns the number of classes and the channels of the hidden layer, if any; 0 after noting an unusable one."""
    if head.get("type") not in known_types:
        head.foreign("type", f"with this backbone only {' and '.join(known_types)} is native")
    hidden_width = None
    if head.get("hidden_dim") is not None:
        hidden_width = _read_count(head, "hidden_dim")
        activation = head.get("act_cfg", {"type": "Tanh"})
        if activation != {"type": "Tanh"}:
            head.foreign("act_cfg", "only {'type': 'Tanh'} is native")
    in_channels = head.get("in_channels")
    if backbone is not None and in_channels is not None and in_channels != backbone.width:
        head.wrong("in_channels", f"the backbone gives {backbone.width} channels")
    if "num_classes" in head.mapping:
        num_classes = _read_count(head, "num_classes")
    else:
        head.wrong("num_classes", "a whole number is expected")
        num_classes = 0
    head.refuse_unknown_keys(harmless=_TRAINING_KEYS_OF_HEAD)
    return num_classes, hidden_width


def _read_count(head: Section, name: str) -> int:
    """Returns a number of at least 1; 0 after noting that it is unusable."""
    count = head.integer(name, 0)
    if count < 1 and type(head.mapping[name]) is int:
        head.wrong(name, f"at least 1 is expected, not {shown(count)}")
    return max(count, 0)
