"""How the pictures were prepared for a checkpoint: what its authors' programs do. Numbers only, no pixels.

Sources: unilm/beit2 datasets.py, timm models/beit.py, vision_transformer.py and deit.py (default_cfgs), the
vision_transformer and deit configurations of mmcls 0.25, mmpretrain configs/beitv2.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modelscope_beit.checkpoints.convert import Renamed
from modelscope_beit.errors import CheckpointError
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Pad, Resize, Step, evaluation_steps

Family = Literal["beitv2", "beit", "vit", "deit"]
Triple = tuple[float, float, float]

FAMILY_TITLES: dict[Family, str] = {"beitv2": "BEiT v2", "beit": "BEiT", "vit": "ViT", "deit": "DeiT"}
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
HALF: Triple = (0.5, 0.5, 0.5)
# From this side on (pixels) the published checkpoints were evaluated without cutting off a border.
_UNCROPPED_SIDE = 384
_NUM_CLASSES_22K = 21841


@dataclass(frozen=True)
class InputRecipe:
    """From a picture to the network's input, for any input size.

    mean, std: for pixels from 0 to 1. crop_pct: share of the resized side that the crop keeps; resize: instead of it
    (resized side, cropped side) in pixels. squash: both sides are resized, whatever the aspect ratio.
    """

    mean: Triple
    std: Triple
    crop_pct: float | None = None
    resize: tuple[int, int] | None = None
    interpolation: str = "bicubic"
    squash: bool = False

    def steps(self, image_size: tuple[int, int]) -> tuple[Step, ...]:
        """Returns the steps for an input of (height, width) pixels."""
        resize = None
        if self.resize is not None:
            resize = round(self.resize[0] * max(image_size) / self.resize[1])
        return evaluation_steps(
            image_size,
            mean=[to_bytes(value) for value in self.mean],
            std=[to_bytes(value) for value in self.std],
            crop_pct=self.crop_pct,
            resize=resize,
            interpolation=self.interpolation,
            squash=self.squash,
        )


def recipe_of(steps: Sequence[Step], image_size: tuple[int, int]) -> InputRecipe:
    """Returns the recipe that steps follow: resizing, centre crop, normalisation.

    image_size: (height, width) of the network's input in pixels. The filters of other libraries are taken for Pillow's
    of the same name. Raises CheckpointError that names the steps which are none of these.
    """
    resize, _, normalize = pixel_steps(steps)
    size = resize.size if isinstance(resize.size, tuple) else (resize.size, resize.size)
    squash, crop = size[1] > 0, max(image_size)
    return InputRecipe(
        to_shares(normalize.mean),
        to_shares(normalize.std),
        resize=None if size == image_size or size[0] == crop else (size[0], crop),
        interpolation=resize.interpolation,
        squash=squash,
    )


def pixel_steps(steps: Sequence[Step]) -> tuple[Resize, CenterCrop | None, Normalize]:
    """Returns the steps that change pixels, if they are those that other libraries have too.

    Raises CheckpointError that names the steps which are none of these.
    """
    found = [step for step in steps if isinstance(step, Resize | CenterCrop | Pad | Normalize)]
    kinds = [type(step) for step in found]
    plain = all(not (isinstance(step, CenterCrop) and step.efficientnet_style) for step in found)
    if not plain or kinds not in ([Resize, CenterCrop, Normalize], [Resize, Normalize]):
        named = ", ".join(kind.__name__ for kind in kinds)
        raise CheckpointError(f"Only Resize, CenterCrop and Normalize can be written for others, not {named}.")
    resize, crop, normalize = found[0], found[1], found[-1]
    assert isinstance(resize, Resize) and isinstance(normalize, Normalize)
    if not normalize.to_rgb or resize.adaptive_side != "short":
        raise CheckpointError("Only RGB input and resizing of the short side can be written for others.")
    return resize, crop if isinstance(crop, CenterCrop) else None, normalize


def scaled_steps(steps: Sequence[Step], source_size: tuple[int, int], target_size: tuple[int, int]) -> tuple[Step, ...]:
    """Returns the same steps for a network with another input size (height, width) in pixels."""

    def scaled(value: int, axis: int) -> int:
        return value if value < 0 else round(value * target_size[axis] / source_size[axis])

    def scaled_size(size: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(size, int):
            return scaled(size, 0) if target_size[0] == target_size[1] else (scaled(size, 0), scaled(size, 1))
        return scaled(size[0], 0), scaled(size[1], 1)

    found: list[Step] = []
    for step in steps:
        if isinstance(step, Resize):
            step = dataclasses.replace(step, size=scaled_size(step.size))
        elif isinstance(step, CenterCrop):
            step = dataclasses.replace(step, crop_size=scaled_size(step.crop_size))
        found.append(step)
    return tuple(found)


def guess_family(renamed: Renamed, file_name: str) -> tuple[Family, str]:
    """Returns the family of a file that comes without a configuration, and how that was decided, as a clause.

    BEiT v1 and v2 have the same keys, ViT and DeiT too: only the name of the file can tell.
    """
    name = file_name.lower().replace("_", "").replace("-", "")
    if "backbone.dist_token" in renamed.tensors:
        return "deit", "by its distillation token"
    if renamed.layout.name.endswith("vit") or "backbone.blocks.0.attn.qkv.bias" in renamed.tensors:
        return ("deit", "by the file's name") if "deit" in name else ("vit", "no name of DeiT in the file's name")
    if "beitv2" in name or "beit2" in name:
        return "beitv2", "by the file's name"
    if "beit" in name:
        return "beit", "by the file's name, which has beit but not beitv2"
    if renamed.layout.name.startswith("transformers-"):
        return "beit", "since transformers publishes no BEiT v2; say family=beitv2 for that"
    return "beitv2", "by default, since the keys do not tell BEiT v1 from v2; say family=beit for v1"


def published_recipe(family: Family, renamed: Renamed, settings: ModelSettings, *, is_wrapped: bool) -> InputRecipe:
    """Returns how the published checkpoints of a family were evaluated by those who wrote this kind of file.

    is_wrapped: the state dict was under a key such as `model`; timm's own files are bare and hold no position index.
    """
    half = family in ("beit", "vit")
    mean, std = (HALF, HALF) if half else (IMAGENET_MEAN, IMAGENET_STD)
    if renamed.layout.name.startswith("transformers-"):
        resize = (256, 224) if family == "deit" else None
        interpolation = "bilinear" if family == "vit" else "bicubic"
        return InputRecipe(mean, std, resize=resize, interpolation=interpolation, squash=True)
    is_large_picture = max(settings.backbone.image_size) >= _UNCROPPED_SIDE
    if renamed.layout.name == "mmcls-vit" and family == "vit":
        return InputRecipe(mean, std, 1.0 if is_large_picture else 0.875, interpolation="bilinear")
    is_timm = renamed.layout.name in ("unilm", "timm-vit") and not is_wrapped and not renamed.dropped
    if is_large_picture:
        return InputRecipe(mean, std, 1.0)
    if not is_timm:
        return InputRecipe(mean, std, 0.875)
    is_large_v2 = family == "beitv2" and settings.backbone.depth >= 24 and settings.num_classes != _NUM_CLASSES_22K
    return InputRecipe(mean, std, 0.95 if is_large_v2 else 0.9)


def to_bytes(value: float) -> float:
    """Returns a mean or deviation for pixels from 0 to 255; rounded, so that 0.485 becomes mm's 123.675."""
    return round(value * 255, 6)


def to_shares(values: Triple) -> Triple:
    """Returns means or deviations for pixels from 0 to 1; rounded where that changes nothing, 123.675 to 0.485."""
    red, green, blue = (
        rounded if to_bytes(rounded := round(value / 255, 6)) == round(value, 6) else value / 255 for value in values
    )
    return red, green, blue
