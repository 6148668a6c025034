"""Picture -> two views of one crop, with chance: what the network sees, and what the tokenizer makes codes of.

Source: unilm/beit2 datasets.py and transforms.py (the box is torchvision's RandomResizedCrop, the jitter its
ColorJitter); unlike there, every number comes from one generator that is passed in.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from modelscope_beit.errors import ImageError
from modelscope_beit.images.part_resizing import PILLOW_FILTERS
from modelscope_beit.images.random_crop import resized_crop_box
from modelscope_beit.settings.augmentation_steps import RandomResizedCrop
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True)
class Views:
    """One crop of a picture, twice, in RGB.

    pixels: (3, H, W) uint8, for the network. code_pixels: (3, H', W') uint8, for the tokenizer; the very same tensor
    where both views have one size and one interpolation.
    """

    pixels: Tensor
    code_pixels: Tensor


class TwoViews:
    """Makes the two views of a picture: jitter of colours, flip, and one box, resized twice.

    An object holds no state: threads and processes may share it.
    """

    def __init__(self, settings: MaskedPretrainingSettings) -> None:
        self.settings = settings.views
        self._size = settings.model.backbone.image_size
        self._code_size = settings.code_size
        self._box = RandomResizedCrop(size=self._size, scale=self.settings.scale, ratio=self.settings.ratio)

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> Views:
        """Returns the views as bytes; see unit_range and normalised for what they are to become.

        picture: RGB, as images.reading.read_image gives it. rng: where every random number comes from.
        Raises ImageError if it has another mode.
        """
        if picture.mode != "RGB":
            raise ImageError(f"An RGB picture is expected, not one of mode {picture.mode}; read it with read_image.")
        if self.settings.num_crops:
            # The picture itself decides, so its crops are the same in every epoch and every run.
            digest = hashlib.blake2b(picture.tobytes(), digest_size=8).digest()
            rng = np.random.default_rng((int.from_bytes(digest, "big"), int(rng.integers(self.settings.num_crops))))
        picture = _jittered(picture, self.settings.color_jitter, rng)
        if rng.random() < self.settings.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        cut = picture.crop(resized_crop_box(*picture.size, self._box, rng))
        pixels = _resized(cut, self._size, "bicubic")
        if (self._code_size, self.settings.code_interpolation) == (self._size, "bicubic"):
            return Views(pixels, pixels)
        return Views(pixels, _resized(cut, self._code_size, self.settings.code_interpolation))


def unit_range(pixels: Tensor) -> Tensor:
    """Returns bytes (N, 3, H, W) as float32 in [0, 1]: what tokenizers take."""
    return pixels.float() / 255


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Returns bytes (N, 3, H, W) as float32, normalised: what the network takes.

    mean, std: of each channel, for values in [0, 1].
    """
    shift, scale = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (mean, std))
    return (unit_range(pixels) - shift) / scale


def _jittered(picture: Image.Image, largest: float, rng: np.random.Generator) -> Image.Image:
    """Returns the picture with brightness, contrast and saturation times 1 +- largest at most, in random order."""
    if largest == 0:
        return picture
    factors = rng.uniform(max(0.0, 1 - largest), 1 + largest, len(_ENHANCERS))
    for place in rng.permutation(len(_ENHANCERS)):
        picture = _ENHANCERS[place](picture).enhance(float(factors[place]))
    return picture


def _resized(picture: Image.Image, size: tuple[int, int], interpolation: str) -> Tensor:
    """Returns (3, H, W) uint8 of this (height, width)."""
    resized = picture.resize(size[::-1], PILLOW_FILTERS[interpolation])
    return torch.from_numpy(np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1)))
