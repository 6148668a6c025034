"""Resizing, cropping and padding without chance, with the numbers of mmcls 0.25 given the picture as a BGR array.

These steps treat the channels alike, so the picture stays RGB until Normalize; only padding values are turned round.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.images.opencv_resizing import resize_like_opencv
from modelscope_beit.images.part_resizing import PILLOW_FILTERS, resize_part
from modelscope_beit.images.reading import MAX_PIXELS
from modelscope_beit.images.torchvision_resizing import resize_like_torchvision
from modelscope_beit.settings.preprocessing import CenterCrop, Pad, Resize

# A picture on its way: Pillow's as long as only Pillow touches it, then (H, W, 3). Both are RGB.
Pixels = Image.Image | np.ndarray
# (left, top, right, bottom) in pixels; right and bottom are the first beyond it.
Box = tuple[int, int, int, int]
FixedStep = Resize | CenterCrop | Pad


def apply_fixed_steps(pixels: Pixels, steps: Sequence[FixedStep]) -> Pixels:
    """Returns the pixels after steps that come before Normalize; raises what apply_fixed_step does."""
    while steps:
        match steps:
            case [Resize(backend="pillow") as step, CenterCrop(efficientnet_style=False) as cut, *steps] if isinstance(
                pixels, Image.Image
            ):
                size = resized_size(*pixels.size, step)
                pixels = resize_part(pixels, size, center_box(*size, cut), step.interpolation)
            case [step, *steps]:
                pixels = apply_fixed_step(pixels, step)
    return pixels


def apply_fixed_step(pixels: Pixels, step: FixedStep) -> Pixels:
    """Returns the pixels after a step that comes before Normalize.

    Raises ImageError if the proportions lead to nothing or to more than MAX_PIXELS.
    """
    if isinstance(step, Resize):
        return resize(pixels, resized_size(*size_of(pixels), step), step.interpolation, step.backend)
    if isinstance(step, CenterCrop):
        cut = crop(pixels, center_box(*size_of(pixels), step))
        if not step.efficientnet_style:
            return cut
        assert isinstance(step.crop_size, int), "checked by CenterCrop"
        return resize(cut, (step.crop_size, step.crop_size), step.interpolation, step.backend)
    return pad(np.asarray(pixels), step, reverse_values=True)


def crop_or_pad(normalized: np.ndarray, step: CenterCrop | Pad) -> np.ndarray:
    """Returns (H, W, 3) after a step that follows Normalize."""
    if isinstance(step, Pad):
        return pad(normalized, step, reverse_values=False)
    left, top, right, bottom = center_box(*size_of(normalized), step)
    return normalized[top:bottom, left:right]


def size_of(pixels: Pixels) -> tuple[int, int]:
    """Returns (width, height)."""
    return pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[1], pixels.shape[0])


def resized_size(width: int, height: int, step: Resize) -> tuple[int, int]:
    """Returns (width, height) after resizing; the side that follows is rounded down, as mmcls does."""
    if isinstance(step.size, int):
        return step.size, step.size
    side = step.size[0]
    if step.size[1] != -1:
        return step.size[1], side
    by_width = {"short": width < height, "long": width > height, "width": True, "height": False}
    if by_width[step.adaptive_side]:
        size = side, int(side * height / width)
    else:
        size = int(side * width / height), side
    check_size((width, height), size)
    return size


def check_size(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Raises ImageError if (width, height) became nothing or more than MAX_PIXELS."""
    if min(after) < 1 or after[0] * after[1] > MAX_PIXELS:
        raise ImageError(
            f"A picture of {before[0]}x{before[1]} pixels would become one of {after[0]}x{after[1]}, but 1 to "
            f"{MAX_PIXELS} pixels are expected; cut it to a less extreme shape."
        )


def resize(pixels: Pixels, size: tuple[int, int], interpolation: str, backend: str) -> Pixels:
    """Returns the pixels at this (width, height).

    backend, interpolation: names of settings.step_values.INTERPOLATIONS. Raises MissingPackageError if OpenCV or a
    newer torchvision is needed and not installed.
    """
    if backend == "cv2":
        return resize_like_opencv(np.asarray(pixels), *size, interpolation)
    if backend == "torchvision":
        return resize_like_torchvision(np.asarray(pixels), *size, interpolation)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    return picture if picture.size == size else picture.resize(size, PILLOW_FILTERS[interpolation])


def crop(pixels: Pixels, box: Box) -> Pixels:
    """Returns the pixels in the box, not copied if it is all of them."""
    left, top, right, bottom = box
    if box == (0, 0, *size_of(pixels)):
        return pixels
    return pixels.crop(box) if isinstance(pixels, Image.Image) else pixels[top:bottom, left:right]


def center_box(width: int, height: int, step: CenterCrop) -> Box:
    """Returns the box in the middle of a picture of this size."""
    sides = (step.crop_size, step.crop_size) if isinstance(step.crop_size, int) else step.crop_size
    if step.efficientnet_style:
        crop_height, crop_width = (side / (side + step.crop_padding) * min(width, height) for side in sides)
        return middle_box(width, height, crop_width, crop_height, round_down=step.round_down)
    return middle_box(width, height, *map(float, sides[::-1]), round_down=step.round_down)


def middle_box(width: int, height: int, crop_width: float, crop_height: float, *, round_down: bool = False) -> Box:
    """Returns a box in the middle, rounded as mmcls rounds: halves to the even number, ends down.

    round_down: halves are rounded down, as in transformers.
    """
    rounded = math.floor if round_down else round
    top = max(0, rounded((height - crop_height) / 2))
    left = max(0, rounded((width - crop_width) / 2))
    # mmcls truncates the last row and column, not the first beyond them. One pixel stays where it would fail.
    bottom = max(top, int(min(height, top + crop_height) - 1)) + 1
    right = max(left, int(min(width, left + crop_width) - 1)) + 1
    return left, top, right, bottom


def pad(pixels: np.ndarray, step: Pad, *, reverse_values: bool) -> np.ndarray:
    """Returns the pixels with rows below and columns at the right.

    reverse_values: pad_val is in BGR order while the pixels are RGB. Raises ImageError beyond MAX_PIXELS.
    """
    height, width = pixels.shape[:2]
    target_height, target_width = step.size or (max(height, width),) * 2
    border = (0, 0, max(0, target_width - width), max(0, target_height - height))
    return add_border(pixels, border, step.pad_val, step.padding_mode, reverse_values=reverse_values)


def add_border(
    pixels: np.ndarray,
    border: tuple[int, int, int, int],
    value: float | tuple[float, ...],
    mode: str,
    *,
    reverse_values: bool,
) -> np.ndarray:
    """Returns the pixels (H, W, 3) with so many more at the (left, top, right, bottom).

    value, mode: as Pad has them. reverse_values: as for `pad`. Raises ImageError beyond MAX_PIXELS.
    """
    left, top, right, bottom = border
    height, width = pixels.shape[:2]
    target_height, target_width = top + height + bottom, left + width + right
    check_size((width, height), (target_width, target_height))
    if mode != "constant":
        numpy_mode: Literal["edge", "reflect", "symmetric"] = mode  # type: ignore[assignment]
        return np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode=numpy_mode)
    values = value if isinstance(value, tuple) else (value, 0, 0)
    if pixels.dtype == np.uint8:
        values = tuple(np.rint(values).clip(0, 255))
    padded = np.empty((target_height, target_width, 3), pixels.dtype)
    padded[:] = values[::-1] if reverse_values else values
    padded[top : top + height, left : left + width] = pixels
    return padded
