"""What a network looks like: sizes and choices, no tensors. Standard library only.

BEiT v2, BEiT v1 and ViT/DeiT classifiers, distilled ones too, are settings of one backbone; the field names follow
the field (drop path, layer scale, relative position bias).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from modelscope_beit.errors import SettingsError

QkvBias = Literal["none", "qv", "full"]
RelativePosition = Literal["none", "per_layer", "shared"]
Pooling = Literal["mean", "class_token", "two_tokens"]
TableResize = Literal["unilm", "linear", "bilinear"]


@dataclass(frozen=True)
class Architecture:
    """A named size. width: channels of a token; mlp_hidden: channels inside the feed-forward part."""

    width: int
    depth: int
    num_heads: int
    mlp_hidden: int


# Source: unilm/beit2 modeling_finetune.py; huge and giant use patches of 14 pixels there.
ARCHITECTURES = {
    "tiny": Architecture(192, 12, 3, 768),
    "small": Architecture(384, 12, 6, 1536),
    "base": Architecture(768, 12, 12, 3072),
    "24x544": Architecture(544, 24, 16, 2176),
    "large": Architecture(1024, 24, 16, 4096),
    "huge": Architecture(1280, 32, 16, 5120),
    "giant": Architecture(1408, 40, 16, 6144),
}


@dataclass(frozen=True)
class BackboneSettings:
    """Settings of the backbone; the defaults are those of BEiT v2 base after fine-tuning.

    image_size: (height, width) in pixels that the position tables are made for.
    qkv_bias: "qv" is BEiT's (no key bias), "full" is ViT's.
    relative_position: "per_layer" in BEiT classifiers, "shared" in masked-image-modelling checkpoints.
    layer_scale_init: initial value of the per-channel scale of each residual branch; None: no scale.
    pooling: "mean" is the mean of the patch tokens, then a layer norm (fc_norm); "class_token" is the layer norm
        of all tokens, then the class token; "two_tokens" the same, then class token and distillation token.
    distilled: a distillation token stands behind the class token (DeiT, arXiv 2012.12877).
    drop_path: stochastic-depth rate of the last block; it rises linearly from 0 at the first.
    frozen_stages: -1 trains everything; 0 freezes patch embedding, class token and positions; n > 0 freezes the
        first n blocks too.
    table_resize: how relative-position tables follow an input of another size (see network/relative_position.py).
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    in_channels: int = 3
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_hidden: int = 3072
    qkv_bias: QkvBias = "qv"
    relative_position: RelativePosition = "per_layer"
    absolute_position: bool = False
    layer_scale_init: float | None = 0.1
    pooling: Pooling = "mean"
    distilled: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    layer_norm_eps: float = 1e-6
    frozen_stages: int = -1
    gradient_checkpointing: bool = False
    table_resize: TableResize = "unilm"

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every contradiction at once."""
        problems = []
        height, width = self.image_size
        if self.patch_size < 1 or height % self.patch_size or width % self.patch_size or min(height, width) < 1:
            problems.append(f"image_size {height}x{width} must be multiples of patch_size {self.patch_size}")
        if self.num_heads < 1 or self.width % self.num_heads:
            problems.append(f"width {self.width} must be divisible by num_heads {self.num_heads}")
        for name in ("in_channels", "width", "depth", "mlp_hidden"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("dropout", "attention_dropout", "drop_path"):
            if not 0.0 <= getattr(self, name) < 1.0:
                problems.append(f"{name} must be in [0, 1), not {getattr(self, name)}")
        if not -1 <= self.frozen_stages <= self.depth:
            problems.append(f"frozen_stages must be between -1 and depth {self.depth}, not {self.frozen_stages}")
        is_plain = (self.relative_position, self.absolute_position, self.layer_scale_init) == ("none", True, None)
        if self.distilled and (not is_plain or self.qkv_bias == "qv" or self.pooling == "mean"):
            problems.append("distilled is for a ViT with absolute positions only that is not pooled by the mean")
        if self.pooling == "two_tokens" and not self.distilled:
            problems.append("pooling two_tokens needs the second one, of distilled")
        if problems:
            raise SettingsError("The backbone cannot be built: " + "; ".join(problems) + ".")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before those of the patches: the class token and, in a distilled network, one more."""
        return 2 if self.distilled else 1


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a classifier: backbone and number of classes (rows of the linear head).

    A head for two tokens (backbone.pooling) has a linear layer for each; the logits are their mean.
    head_init_scale: factor on the head's fresh weights (unilm: 0.001).
    hidden_width: channels of a hidden layer with tanh before the last; None: there is none.
    """

    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    num_classes: int = 1000
    head_init_scale: float = 0.001
    hidden_width: int | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError if there is no class, or a hidden layer of no channels."""
        if self.num_classes < 1:
            raise SettingsError(f"num_classes must be at least 1, not {self.num_classes}.")
        if self.hidden_width is not None and self.hidden_width < 1:
            raise SettingsError(f"hidden_width must be at least 1, or None, not {self.hidden_width}.")

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the network was built for, in pixels."""
        return self.backbone.image_size

    def with_image_size(self, height: int, width: int) -> "ModelSettings":
        """Returns the same settings for pictures of another size, in pixels."""
        return replace(self, backbone=replace(self.backbone, image_size=(height, width)))

    def with_num_classes(self, num_classes: int) -> "ModelSettings":
        """Returns the same settings for another number of classes."""
        return replace(self, num_classes=num_classes)


def model_settings(
    family: Literal["beitv2", "beit", "vit"], size: str, *, num_classes: int = 1000, **backbone: object
) -> ModelSettings:
    """Returns the settings of a published architecture, e.g. ``model_settings("beitv2", "large")``.

    family: "beitv2" and "beit" are mean-pooled with per-layer relative positions (their released classifiers
        differ in weights and preprocessing only); "vit" has absolute positions, a full qkv bias, a class token.
    size: a key of ARCHITECTURES. backbone: any field of BackboneSettings to set otherwise.
    Raises SettingsError for an unknown size.
    """
    if size not in ARCHITECTURES:
        raise SettingsError(f"There is no size {size!r}; choose one of {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[size]
    choices: dict[str, object] = {
        "width": architecture.width,
        "depth": architecture.depth,
        "num_heads": architecture.num_heads,
        "mlp_hidden": architecture.mlp_hidden,
        "layer_scale_init": 0.1 if architecture.depth <= 12 else 1e-5,
    }
    if family == "vit":
        choices |= {
            "qkv_bias": "full",
            "relative_position": "none",
            "absolute_position": True,
            "layer_scale_init": None,
            "pooling": "class_token",
        }
    choices |= backbone
    return ModelSettings(BackboneSettings(**choices), num_classes)  # type: ignore[arg-type]
