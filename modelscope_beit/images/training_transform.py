"""Picture -> network input, with chance: the transform of training.

Every number comes from the generator that is passed in, in the order in which mmcls 0.25's Compose of the same steps
draws its own, and from the same distributions; given the same numbers, the result is the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.images import photometric
from modelscope_beit.images.auto_augment import apply_operation, auto_augment, color_jitter, rand_augment
from modelscope_beit.images.erasing import random_erasing
from modelscope_beit.images.fixed_steps import Pixels, apply_fixed_step, crop_or_pad
from modelscope_beit.images.normalizing import Normalizing
from modelscope_beit.images.random_crop import random_crop, random_resized_crop
from modelscope_beit.settings.augmentation_steps import (
    ColorJitter,
    Lighting,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
)
from modelscope_beit.settings.policies import AutoAugment, RandAugment
from modelscope_beit.settings.policy_operations import OPERATIONS
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Pad, Resize
from modelscope_beit.settings.training_steps import TrainingStep, check_training_order


class TrainingTransform:
    """Makes the network's input out of a picture.

    steps: the mm steps; see settings.training_steps. Raises SettingsError if they do not end in normalised tensors.
    An object holds no state: threads and processes may share it.
    """

    def __init__(self, steps: Sequence[TrainingStep]) -> None:
        check_training_order(steps)
        self.steps = tuple(steps)
        place = next(index for index, step in enumerate(steps) if isinstance(step, Normalize))
        normalize = steps[place]
        assert isinstance(normalize, Normalize)
        self._before = [step for step in steps[:place] if step.changes_pixels]
        self._after = [step for step in steps[place + 1 :] if step.changes_pixels]
        self._normalize = Normalizing(normalize)

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> torch.Tensor:
        """Returns (3, H, W) float32, contiguous; the channels are RGB, or BGR where Normalize.to_rgb is false.

        picture: RGB, as images.reading.read_image gives it. rng: where every random number comes from.
        Raises ImageError if it has another mode, or proportions that the steps turn into nothing or into more than
        MAX_PIXELS, or if it is smaller than a RandomCrop.
        """
        if picture.mode != "RGB":
            raise ImageError(f"An RGB picture is expected, not one of mode {picture.mode}; read it with read_image.")
        pixels: Pixels = picture
        for step in self._before:
            pixels = _FUNCTIONS[type(step)](pixels, step, rng)
        normalized = self._normalize(np.asarray(pixels)).transpose(1, 2, 0)  # (H, W, 3)
        for step in self._after:
            normalized = _applied_late(normalized, step, rng)
        return torch.from_numpy(np.ascontiguousarray(normalized.transpose(2, 0, 1)))


def random_flip(pixels: Pixels, step: RandomFlip, rng: np.random.Generator) -> Pixels:
    """Returns the pixels, with the step's probability mirrored."""
    if rng.random() >= step.flip_prob:
        return pixels
    if isinstance(pixels, Image.Image):
        return pixels.transpose(_PILLOW_FLIPS[step.direction])
    return np.ascontiguousarray(np.flip(pixels, _FLIPPED_AXES[step.direction]))


def random_grayscale(pixels: np.ndarray, step: RandomGrayscale, rng: np.random.Generator) -> np.ndarray:
    """Returns the pixels, with the step's probability grey."""
    return photometric.grayscale(pixels) if rng.random() < step.gray_prob else pixels


def lighting(pixels: np.ndarray, step: Lighting, rng: np.random.Generator) -> np.ndarray:
    """Returns the pixels in float, with light of a random colour."""
    return photometric.add_light(pixels, step, rng.normal(0, step.alphastd, len(step.eigval)))


def _applied_late(normalized: np.ndarray, step: TrainingStep, rng: np.random.Generator) -> np.ndarray:
    """Returns (H, W, 3) after a step that follows Normalize; the channels have mmcls's order now."""
    if isinstance(step, RandomFlip):
        return np.asarray(random_flip(normalized, step, rng))
    if isinstance(step, RandomCrop):
        return random_crop(normalized, step, rng, reverse_values=False)
    if isinstance(step, RandomErasing):
        return random_erasing(normalized, step, rng, reverse_values=False)
    assert isinstance(step, CenterCrop | Pad), "checked by check_training_order"
    return crop_or_pad(normalized, step)


_PILLOW_FLIPS = {
    "horizontal": Image.Transpose.FLIP_LEFT_RIGHT,
    "vertical": Image.Transpose.FLIP_TOP_BOTTOM,
    "diagonal": Image.Transpose.ROTATE_180,
}
_FLIPPED_AXES: dict[str, tuple[int, ...]] = {"horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}

_Function = Callable[[Any, Any, np.random.Generator], Pixels]


def _of_pixels(function: _Function) -> _Function:
    """Returns the function, for pictures that are still Pillow's as well."""
    return lambda pixels, step, rng: function(np.asarray(pixels), step, rng)


def _fixed(pixels: Pixels, step: Resize | CenterCrop | Pad, rng: np.random.Generator) -> Pixels:
    return apply_fixed_step(pixels, step)


_FUNCTIONS: dict[type[TrainingStep], _Function] = {
    **dict.fromkeys((Resize, CenterCrop, Pad), _fixed),
    **{kind: _of_pixels(apply_operation) for kind in OPERATIONS},
    AutoAugment: _of_pixels(auto_augment),
    ColorJitter: _of_pixels(color_jitter),
    Lighting: _of_pixels(lighting),
    RandAugment: _of_pixels(rand_augment),
    RandomCrop: random_crop,
    RandomErasing: _of_pixels(random_erasing),
    RandomFlip: random_flip,
    RandomGrayscale: _of_pixels(random_grayscale),
    RandomResizedCrop: random_resized_crop,
}
