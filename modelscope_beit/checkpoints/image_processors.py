"""The image processors of transformers <-> steps of ours, without that library. Numbers only, no pixels.

A preprocessor_config.json does not say which of a processor's two implementations resizes: both write the same file.
It means what AutoImageProcessor makes of it by default: in transformers 5 that is torchvision's resizing of tensors,
whatever wrote the file. The other one (backend="pil"; in transformers 4 that of all names without "Fast") resizes with
Pillow, as our Resize does with backend "pillow".

Source: transformers 5.23 image_processing_backends.py and models/{beit,vit,deit,bit}/image_processing_*.py; the older
keys: transformers 4.x models/beit/feature_extraction_beit.py.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelscope_beit.checkpoints.input_recipes import HALF, Triple, pixel_steps, scaled_steps, to_shares
from modelscope_beit.errors import CheckpointError
from modelscope_beit.settings.preprocessing import (
    CenterCrop,
    Collect,
    ImageToTensor,
    LoadImageFromFile,
    Normalize,
    Resize,
    Step,
)
from modelscope_beit.settings.step_values import INTERPOLATIONS

PROCESSOR_FILE = "preprocessor_config.json"
# Pillow's numbers of the filters.
PILLOW_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_SIDE = 224
_ALL_DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": HALF,
    "image_std": HALF,
    "size": _SIDE,
    "crop_size": _SIDE,
    "do_center_crop": False,
    "do_pad": False,
    "default_to_square": True,
}
# What a processor does where its file is silent; by its name without the ending.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "Beit": {"resample": 3},
    "ViT": {"resample": 2},
    "DeiT": {"resample": 3, "size": 256, "do_center_crop": True},
    "Bit": {
        "resample": 3,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "do_center_crop": True,
        "default_to_square": False,
    },
}
_ENDING = re.compile(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$")


@dataclass(frozen=True)
class ProcessorRecipe:
    """What an image processor does to pictures.

    own_steps: for its own size. image_size: (height, width) in pixels that these make.
    """

    own_steps: tuple[Step, ...]
    image_size: tuple[int, int]

    def steps(self, image_size: tuple[int, int]) -> tuple[Step, ...]:
        """Returns the steps for an input of (height, width) pixels."""
        return scaled_steps(self.own_steps, self.image_size, image_size)


def read_processor(config: Mapping[str, Any], kind: str, path: Path) -> ProcessorRecipe:
    """Returns what a processor does, by its preprocessor_config.json.

    config: the contents of the file; empty means the library's defaults. kind: "Beit", "ViT" or "DeiT", whose
    processor it is where the file does not tell. path: for messages.
    The resized pixels equal the processor's own; normalised ones differ by rounding, at most 1e-6.
    Raises CheckpointError for an unknown processor and for what no step of ours does.
    """
    name = str(config.get("image_processor_type") or config.get("feature_extractor_type") or kind)
    defaults = _DEFAULTS.get(_ENDING.sub("", name))
    if defaults is None:
        raise CheckpointError(f"{path}: {name} is unknown; known are the image processors of {', '.join(_DEFAULTS)}.")
    values = _ALL_DEFAULTS | defaults | {key: value for key, value in config.items() if value is not None}
    if not values["do_resize"] or values["do_pad"]:
        raise CheckpointError(f"{path}: do_resize has to be true and do_pad false, or pictures keep their own sizes.")
    if values["resample"] not in PILLOW_FILTERS:
        raise CheckpointError(f"{path}: resample is {values['resample']!r}, but 0 to 5, Pillow's filters, are known.")
    size = _resized_size(values["size"], bool(values["default_to_square"]), path)
    crop = _pair(values["crop_size"], "crop_size", path) if values["do_center_crop"] else None
    interpolation = PILLOW_FILTERS[values["resample"]]
    # The tensor kind of a processor refuses the other filters, so only the Pillow kind can be meant.
    backend = "torchvision" if interpolation in INTERPOLATIONS["torchvision"] else "pillow"
    steps: tuple[Step, ...] = (
        LoadImageFromFile(),
        Resize(size, interpolation=interpolation, backend=backend),
        *_crop_steps(size, crop, path),
        _normalization(values, path),
        ImageToTensor(),
        Collect(),
    )
    return ProcessorRecipe(steps, crop or size)


def write_processor(steps: Sequence[Step], name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns a preprocessor_config.json for these steps, and in words what it does otherwise.

    name: of a processor that resizes to a fixed height and width; one that keeps the proportions is chosen if needed.
    Raises CheckpointError for steps that no processor does.
    """
    resize, crop, normalize = pixel_steps(steps)
    numbers = {name: number for number, name in PILLOW_FILTERS.items()}
    if resize.interpolation not in numbers:
        raise CheckpointError(f"transformers cannot resize with the filter {resize.interpolation}.")
    size = resize.size if isinstance(resize.size, tuple) else (resize.size, resize.size)
    keeps_proportions = size[1] < 0
    crop_size = None if crop is None else _both(crop.crop_size)
    if keeps_proportions and crop_size is None:
        raise CheckpointError("Resize keeps the proportions and no CenterCrop follows: pictures of any shape come out.")
    # BEiT's own processor of transformers 4 cannot keep the proportions; this one is what DINOv2 uses for it.
    config: dict[str, Any] = {
        "image_processor_type": "BitImageProcessor" if keeps_proportions else name,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size[0]} if keeps_proportions else _named(size),
        "resample": numbers[resize.interpolation],
        "do_center_crop": crop_size is not None,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(to_shares(normalize.mean)),
        "image_std": list(to_shares(normalize.std)),
    }
    if crop_size is not None:
        _crop_steps(size, crop_size, Path(PROCESSOR_FILE))
        config["crop_size"] = _named(crop_size)
    return config, tuple(_differences(resize, crop))


def _differences(resize: Resize, crop: CenterCrop | None) -> list[str]:
    """Returns what the processor of written steps does otherwise than they do."""
    found = []
    if resize.backend == "cv2":
        found.append("pictures are resized by OpenCV here and by torchvision there: the pixels differ")
    elif resize.backend == "pillow" and resize.interpolation not in INTERPOLATIONS["torchvision"]:
        found.append(
            f"the filter {resize.interpolation} runs there with AutoImageProcessor.from_pretrained(..., "
            'backend="pil") only'
        )
    elif resize.backend == "pillow":
        how_many = (
            "other pixels are taken" if resize.interpolation == "nearest" else "1 % of the values differ a little"
        )
        found.append(
            f"pictures are resized by Pillow here and by torchvision in transformers 5: {how_many}, none with "
            'AutoImageProcessor.from_pretrained(..., backend="pil")'
        )
    if crop is not None and not crop.round_down and _may_lie_beside(_both(resize.size), _both(crop.crop_size)):
        found.append(
            "where 3, 7, 11 ... pixels of a side are cut off, the crop lies one pixel further to the top or left there"
        )
    return found


def _crop_steps(size: tuple[int, int], crop: tuple[int, int] | None, path: Path) -> list[CenterCrop]:
    """Returns the crop that follows resizing to a size, if one is needed. Raises CheckpointError if none fits."""
    if crop is None and size[1] < 0:
        raise CheckpointError(
            f"{path}: size keeps the proportions and do_center_crop is not true, so pictures of any shape come out."
        )
    if crop is None or crop == size:
        return []
    resized = (size[0], size[0]) if size[1] < 0 else size
    if crop[0] > resized[0] or crop[1] > resized[1]:
        raise CheckpointError(
            f"{path}: crop_size {crop[0]}x{crop[1]} is larger than what resizing may leave, {resized[0]}x{resized[1]}; "
            f"transformers pads with black there, and no step here does."
        )
    # One number where one is enough: stock mmcls takes no JSON list as crop_size, and knows no round_down.
    return [CenterCrop(crop[0] if crop[0] == crop[1] else crop, round_down=_may_lie_beside(size, crop))]


def _may_lie_beside(size: tuple[int, int], crop: tuple[int, int]) -> bool:
    """Tells whether rounding half the cut-off pixels to the even number may differ from rounding it down."""
    return size[1] < 0 or any((side - kept) % 4 == 3 for side, kept in zip(size, crop, strict=True))


def _normalization(values: Mapping[str, Any], path: Path) -> Normalize:
    """Returns (pixel * factor - mean) / std as one step for pixels from 0 to 255."""
    factor = float(values["rescale_factor"]) if values["do_rescale"] else 1.0
    normalised = values["do_normalize"]
    mean = triple(values["image_mean"], path) if normalised else (0.0, 0.0, 0.0)
    std = triple(values["image_std"], path) if normalised else (1.0, 1.0, 1.0)
    if factor <= 0 or min(std) <= 0:
        raise CheckpointError(f"{path}: rescale_factor ({factor}) and image_std {std} have to be above 0.")
    return Normalize(_divided(mean, factor), _divided(std, factor))


def _divided(values: Triple, factor: float) -> Triple:
    """Returns the values divided by a factor, to 9 digits: single precision has fewer, and 0.485 becomes 123.675."""
    red, green, blue = (float(f"{value / factor:.9g}") for value in values)
    return red, green, blue


def _resized_size(value: Any, default_to_square: bool, path: Path) -> tuple[int, int]:
    """Returns (height, width), or (short side, -1) where the proportions are kept."""
    if isinstance(value, int) and not default_to_square:
        return value, -1
    if isinstance(value, Mapping) and value.keys() == {"shortest_edge"}:
        return int(value["shortest_edge"]), -1
    return _pair(value, "size", path)


def _pair(value: Any, key: str, path: Path) -> tuple[int, int]:
    """Returns (height, width) out of one number, two, or a mapping with these names."""
    if isinstance(value, Mapping) and value.keys() == {"height", "width"}:
        value = (value["height"], value["width"])
    if isinstance(value, int):
        value = (value, value)
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(side, int) and side > 0 for side in value)
    ):
        return value[0], value[1]
    raise CheckpointError(
        f"{path}: {key} is {value!r}, but a number of pixels, {{'height': ..., 'width': ...}} or, for size, "
        "{'shortest_edge': ...} is expected."
    )


def triple(values: Any, path: Path) -> Triple:
    """Returns three numbers, one a channel; raises CheckpointError that names the file for anything else."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise CheckpointError(f"{path}: mean and std must have three numbers, not {values!r}.")
    return float(values[0]), float(values[1]), float(values[2])


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _named(size: tuple[int, int]) -> dict[str, int]:
    return {"height": size[0], "width": size[1]}
