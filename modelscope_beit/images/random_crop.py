"""Random boxes of a picture.

Numbers are drawn in the order in which mmcls 0.25 draws them, from the same distributions.
Source: mmcls 0.25.0, datasets/pipelines/transforms.py.
"""

import math

import numpy as np

from modelscope_beit.errors import ImageError
from modelscope_beit.images.fixed_steps import Box, Pixels, add_border, crop, middle_box, resize, size_of
from modelscope_beit.settings.augmentation_steps import RandomCrop, RandomResizedCrop


def random_resized_crop(pixels: Pixels, step: RandomResizedCrop, rng: np.random.Generator) -> Pixels:
    """Returns the pixels of a random box at the step's size."""
    width, height = size_of(pixels)
    draw = efficientnet_box if step.efficientnet_style else resized_crop_box
    sides = (step.size, step.size) if isinstance(step.size, int) else step.size
    return resize(crop(pixels, draw(width, height, step, rng)), sides[::-1], step.interpolation, step.backend)


def resized_crop_box(width: int, height: int, step: RandomResizedCrop, rng: np.random.Generator) -> Box:
    """Returns a box of random area and proportions; the largest allowed in the middle if none fits."""
    logarithms = [math.log(ratio) for ratio in step.ratio]
    for _ in range(step.max_attempts):
        area = _uniform(rng, *step.scale) * (height * width)
        ratio = math.exp(_uniform(rng, *logarithms))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            return _placed(width, height, box_width, box_height, rng)
    box_width, box_height = width, height
    if width / height < min(step.ratio):
        box_height = round(width / min(step.ratio))
    elif width / height > max(step.ratio):
        box_width = round(height * max(step.ratio))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return left, top, left + box_width, top + box_height


def efficientnet_box(width: int, height: int, step: RandomResizedCrop, rng: np.random.Generator) -> Box:
    """Returns a box of random proportions and then random height; CenterCrop's in the middle if none fits."""
    area = width * height
    smallest, largest = step.scale[0] * area, step.scale[1] * area
    for _ in range(step.max_attempts):
        ratio = _uniform(rng, *step.ratio)
        highest = round(math.sqrt(largest / ratio))
        if highest * ratio > width:
            highest = int((width + 0.5 - 1e-7) / ratio)
            if highest * ratio > width:
                highest -= 1
        highest = min(highest, height)
        lowest = min(round(math.sqrt(smallest / ratio)), highest)
        box_height = round(_uniform(rng, lowest, highest))
        box_width = round(box_height * ratio)
        covered = box_height * box_width
        fits = 0 < box_width <= width and 0 < box_height <= height
        if fits and max(smallest, step.min_covered * area) <= covered <= largest:
            return _placed(width, height, box_width, box_height, rng)
    assert isinstance(step.size, int), "checked by RandomResizedCrop"
    side = step.size / (step.size + step.crop_padding) * min(width, height)
    return middle_box(width, height, side, side)


def random_crop(
    pixels: Pixels, step: RandomCrop, rng: np.random.Generator, *, reverse_values: bool = True
) -> np.ndarray:
    """Returns a box of the step's size at a random place of the padded picture.

    reverse_values: pad_val is in BGR order while the pixels are RGB.
    Raises ImageError if the picture is smaller than the box.
    """
    box_height, box_width = (step.size, step.size) if isinstance(step.size, int) else step.size
    array = np.asarray(pixels)
    if step.padding is not None:
        border = step.padding if isinstance(step.padding, tuple) else (step.padding,)
        left, top, right, bottom = border * (4 // len(border))
        # mmcls does not pass its padding mode on here.
        array = add_border(array, (left, top, right, bottom), step.pad_val, "constant", reverse_values=reverse_values)
    if step.pad_if_needed:
        high, wide = max(0, box_height - array.shape[0]), max(0, box_width - array.shape[1])
        for sides in ((0, high, 0, high), (wide, 0, wide, 0)):
            array = add_border(array, sides, step.pad_val, step.padding_mode, reverse_values=reverse_values)
    height, width = array.shape[:2]
    if width < box_width or height < box_height:
        raise ImageError(
            f"RandomCrop cannot cut {box_width}x{box_height} pixels out of a picture of {width}x{height}; "
            "give it pad_if_needed=true, or resize before it."
        )
    if (width, height) == (box_width, box_height):
        return array
    return np.asarray(crop(array, _placed(width, height, box_width, box_height, rng)))


def _placed(width: int, height: int, box_width: int, box_height: int, rng: np.random.Generator) -> Box:
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    return left, top, left + box_width, top + box_height


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()
