"""Classifiers whose network others build: timm its backbones, mmcls everything else that an mm_model can say."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import cast

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import Section, plain

TIMM_BACKBONE = "TIMMBackbone"
_POOLING = "GlobalAveragePooling"
_HEAD = "LinearClsHead"
# These heads of mmcls get the classes' logits from a backbone that ends in them, such as VGG.
_HEADS_WITHOUT_LAYERS = ("ClsHead", "MultiLabelClsHead")
# Where mmcls's TIMMBackbone would get weights from; here they are those of the model folder.
_SOURCES_OF_WEIGHTS = ("pretrained", "checkpoint_path")
# What it takes away again, with the classifier.
_OF_THE_CLASSIFIER = ("num_classes", "global_pool")
# mmcls's own deviation of the fresh weights of a LinearClsHead.
_HEAD_INIT_STD = 0.01


@dataclass(frozen=True)
class TimmModelSettings:
    """A convolutional network of timm, global average pooling and a linear layer.

    model_name: timm's, e.g. "resnetv2_50x1_bit". arguments: keywords of timm.create_model beside it.
    width: channels of its last feature map. head_init_std: deviation of the head's fresh weights; BiT: 0.
    The mm_model is mmcls's TIMMBackbone, and so are the names of the weights.
    """

    model_name: str
    num_classes: int
    width: int
    in_channels: int = 3
    arguments: dict[str, object] = field(default_factory=dict)
    head_init_std: float = _HEAD_INIT_STD

    def __post_init__(self) -> None:
        """Raises SettingsError if there is no class or no channel."""
        if min(self.num_classes, self.width, self.in_channels) < 1:
            raise SettingsError(
                f"num_classes ({self.num_classes}), width ({self.width}) and in_channels ({self.in_channels}) must be "
                "at least 1."
            )

    @property
    def image_size(self) -> None:
        """None: pictures may have any size."""
        return None

    def with_num_classes(self, num_classes: int) -> "TimmModelSettings":
        """Returns the same settings for another number of classes."""
        return replace(self, num_classes=num_classes)


@dataclass(frozen=True)
class MmclsModelSettings:
    """A classifier that mmcls builds.

    mm_model: all that is said about it, for training too. reasons: sentences on why it is not native.
    """

    mm_model: dict[str, object]
    num_classes: int
    reasons: tuple[str, ...]

    @property
    def image_size(self) -> None:
        """None: which sizes pictures may have is known to the network only."""
        return None

    def with_num_classes(self, num_classes: int) -> "MmclsModelSettings":
        """Returns the same settings for another number of classes."""
        mm_model = deepcopy(self.mm_model)
        part = "head" if head_has_layers(mm_model) else "backbone"
        cast(dict[str, object], mm_model[part])["num_classes"] = num_classes
        return replace(self, mm_model=mm_model, num_classes=num_classes)


def head_has_layers(mm_model: Mapping[str, object]) -> bool:
    """Tells whether the head makes the classes' logits, and so has their number; otherwise the backbone does."""
    head = mm_model.get("head")
    return not (isinstance(head, Mapping) and head.get("type") in _HEADS_WITHOUT_LAYERS)


def read_timm_model(
    backbone: Section, head: Section, neck: Mapping[str, object] | None, num_classes: int
) -> TimmModelSettings | None:
    """Returns the settings of an mm_model with a TIMMBackbone.

    Notes as foreign what only mmcls can make of it, and as wrong what nobody can; then it returns None.
    """
    model_name, width = backbone.get("model_name"), head.integer("in_channels", 0)
    if not isinstance(model_name, str):
        backbone.wrong("model_name", "the name of a timm model is expected, e.g. 'resnetv2_50x1_bit'")
    if width < 1:
        head.wrong("in_channels", "the number of channels of the backbone's last feature map is expected")
    if backbone.get("features_only"):
        backbone.foreign("features_only", "only false is native")
    if "norm_layer" in backbone.mapping:
        backbone.foreign("norm_layer", "only timm's own layers are native")
    if head.get("type") != _HEAD:
        head.foreign("type", f"with {TIMM_BACKBONE} only {_HEAD} is native")
    if neck is None or neck.get("type") != _POOLING or neck.get("dim", 2) != 2:
        backbone.foreign("type", f"without a neck {_POOLING} it is not native")
    in_channels = backbone.integer("in_channels", 3)
    init_std = _read_init_std(head)
    if backbone.problems.foreign or backbone.problems.wrong or not isinstance(model_name, str):
        return None
    known = {
        "type",
        "model_name",
        "features_only",
        "in_channels",
        "init_cfg",
        *_SOURCES_OF_WEIGHTS,
        *_OF_THE_CLASSIFIER,
    }
    arguments = {name: value for name, value in backbone.mapping.items() if name not in known}
    return TimmModelSettings(
        model_name, num_classes, width, in_channels, cast(dict[str, object], plain(arguments)), init_std
    )


def write_timm_model(settings: TimmModelSettings) -> dict[str, object]:
    """Returns the mm_model, as mmcls reads it; read_timm_model reads the same settings back."""
    head: dict[str, object] = {"type": _HEAD, "num_classes": settings.num_classes, "in_channels": settings.width}
    if settings.head_init_std != _HEAD_INIT_STD:
        head["init_cfg"] = {"type": "Normal", "layer": "Linear", "std": settings.head_init_std}
    backbone: dict[str, object] = {"type": TIMM_BACKBONE, "model_name": settings.model_name}
    if settings.in_channels != 3:
        backbone["in_channels"] = settings.in_channels
    return {
        "type": "ImageClassifier",
        "pretrained": None,
        "backbone": backbone | deepcopy(settings.arguments),
        "neck": {"type": _POOLING},
        "head": head,
    }


def _read_init_std(head: Section) -> float:
    """Returns the deviation of fresh weights; 0 for mm's way to say that they are zeros."""
    config = head.get("init_cfg")
    if config is None:
        return _HEAD_INIT_STD
    if isinstance(config, Mapping):
        std = config.get("std", 1.0)
        if config.get("type") == "Normal" and isinstance(std, int | float):
            return float(std)
        if config.get("type") == "Constant" and config.get("val", 0) == 0:
            return 0.0
    head.foreign("init_cfg", "only {'type': 'Normal', 'layer': 'Linear', 'std': NUMBER} and a constant 0 are native")
    return _HEAD_INIT_STD
