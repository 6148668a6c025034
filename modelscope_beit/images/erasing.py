"""Random boxes of a picture filled with a colour or with noise.

Numbers are drawn in the order in which mmcls 0.25 draws them, from the same distributions.
Source: mmcls 0.25.0, datasets/pipelines/{transforms,auto_augment}.py; mmcv 1.7.2, image/geometric.py.
"""

import numpy as np

from modelscope_beit.images.fixed_steps import Box
from modelscope_beit.settings.augmentation_steps import RandomErasing
from modelscope_beit.settings.policy_operations import Cutout


def random_erasing(
    pixels: np.ndarray, step: RandomErasing, rng: np.random.Generator, *, reverse_values: bool = True
) -> np.ndarray:
    """Returns the pixels (H, W, 3), with the step's probability with a box filled.

    reverse_values: fill_color and fill_std are in BGR order while the pixels are RGB.
    """
    if rng.random() > step.erase_prob:
        return pixels
    left, top, right, bottom = erased_box(pixels.shape[1], pixels.shape[0], step, rng)
    patch = _patch(bottom - top, right - left, step, rng)
    return _filled(pixels, (left, top, right, bottom), patch[:, :, ::-1] if reverse_values else patch)


def erased_box(width: int, height: int, step: RandomErasing, rng: np.random.Generator) -> Box:
    """Returns a box of random area and proportions, cut off where it is larger than the picture."""
    aspects = step.aspect_range
    if not isinstance(aspects, tuple):
        aspects = (min(aspects, 1 / aspects), max(aspects, 1 / aspects))
    low, high = np.log(np.array(aspects, np.float32))
    aspect = np.exp(rng.uniform(low, high))
    area = height * width * rng.uniform(step.min_area_ratio, step.max_area_ratio)
    box_height = min(round(np.sqrt(area * aspect)), height)
    box_width = min(round(np.sqrt(area / aspect)), width)
    # The last possible place is left out, as mmcls does.
    top = int(rng.integers(0, height - box_height)) if height > box_height else 0
    left = int(rng.integers(0, width - box_width)) if width > box_width else 0
    return left, top, left + box_width, top + box_height


def cutout(pixels: np.ndarray, operation: Cutout, rng: np.random.Generator) -> np.ndarray:
    """Returns the RGB pixels with a box filled whose middle is anywhere in the picture; pad_val is BGR."""
    height, width = pixels.shape[:2]
    sides = operation.shape if isinstance(operation.shape, tuple) else (operation.shape, operation.shape)
    cut_height, cut_width = map(int, sides)
    # From 1 to the side: mmcv passes the side as the lower end of numpy's range.
    y, x = height + (1 - height) * rng.random(), width + (1 - width) * rng.random()
    top, left = int(max(0, y - cut_height / 2)), int(max(0, x - cut_width / 2))
    box = (left, top, min(width, left + cut_width), min(height, top + cut_height))
    values = operation.pad_val if isinstance(operation.pad_val, tuple) else (operation.pad_val,) * 3
    return _filled(pixels, box, np.array(values[::-1]).astype(np.uint8))


def _patch(height: int, width: int, step: RandomErasing, rng: np.random.Generator) -> np.ndarray:
    """Returns (height, width, 3) uint8 in the channel order of fill_color."""
    size = (height, width, 3)
    if step.mode == "const":
        return np.broadcast_to(np.array(step.fill_color).astype(np.uint8), size)
    if step.fill_std is None:
        return rng.integers(0, 256, size, np.uint8)
    noise = rng.standard_normal(size, np.float32) * np.array(step.fill_std, np.float32)
    return (noise + np.array(step.fill_color, np.float32)).clip(0, 255).astype(np.uint8)


def _filled(pixels: np.ndarray, box: Box, patch: np.ndarray) -> np.ndarray:
    left, top, right, bottom = box
    filled = pixels.copy()
    filled[top:bottom, left:right] = patch
    return filled
