"""Picture -> network input on the fast road: JPEGs decoded at a fraction of their sides, PyTorch's resizing of bytes.

The pixels differ a little from those of EvaluationTransform, in levels of 255: where nothing is decoded smaller, by
less than 0.01 in the mean, and 999 of 1,000 values by at most one. Where a JPEG is, by less than 0.3 in the mean, and
99 of 100 values by at most one, in photographs that are sharp to the pixel (in white noise 0.45 and 98).
"""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.fixed_steps import apply_fixed_step, resized_size
from modelscope_beit.images.normalizing import Normalizing
from modelscope_beit.images.reading import FULL_SIZE, read_image
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Pad, Resize, Step, check_order

# A JPEG stays at least so many times as large as it is needed. With 2, only 90 of 100 values are within a level.
_MARGIN = 5
_BACKENDS = ("pillow", "torchvision")
_INTERPOLATIONS = ("bilinear", "bicubic")


class FastTransform:
    """Makes the network's input out of a picture; its `read` reads files as it likes them best.

    steps: the mm steps; see settings.preprocessing. as_bytes: gives bytes that are still to be normalised.
    Raises SettingsError if the steps do not end in a normalised tensor, or if there is no fast way to make them.
    An object holds no state of a picture: threads may share it.
    """

    def __init__(self, steps: Sequence[Step], *, as_bytes: bool = False) -> None:
        check_order(steps)
        if problems := _problems(steps):
            raise SettingsError(f"There is no fast decoding for this preprocessing: {'; '.join(problems)}.")
        fixed = [step for step in steps if isinstance(step, Resize | CenterCrop | Pad)]
        assert isinstance(fixed[0], Resize), "checked by _problems"
        self.steps = tuple(steps)
        self.as_bytes = as_bytes
        self.normalize = next(step for step in steps if isinstance(step, Normalize))
        self._resize, self._later = fixed[0], fixed[1:]
        self._normalized = Normalizing(self.normalize)

    def read(self, source: object) -> Image.Image:
        """Returns what images.reading.read_image gives, a JPEG perhaps smaller."""
        return read_image(source, least=self._least)

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Returns (3, H, W), contiguous: float32, normalised, or uint8; RGB, or BGR where Normalize.to_rgb is false.

        picture: RGB, from `read` or any other. Raises ImageError as EvaluationTransform does.
        """
        if picture.mode != "RGB":
            raise ImageError(f"An RGB picture is expected, not one of mode {picture.mode}; read it with read_image.")
        full_size = picture.info.get(FULL_SIZE, picture.size)
        width, height = full_size
        size = resized_size(width, height, self._resize)
        pixels = resize_bytes(picture, size, self._resize.interpolation, full_size=full_size)
        for step in self._later:
            pixels = np.asarray(apply_fixed_step(pixels, step))
        if not self.as_bytes:
            return torch.from_numpy(self._normalized(pixels))
        order = 1 if self.normalize.to_rgb else -1
        return torch.from_numpy(np.array(pixels.transpose(2, 0, 1)[::order], order="C"))

    def _least(self, width: int, height: int) -> tuple[int, int]:
        resized_width, resized_height = resized_size(width, height, self._resize)
        return _MARGIN * resized_width, _MARGIN * resized_height


def resize_bytes(
    picture: Image.Image, size: tuple[int, int], interpolation: str, *, full_size: tuple[int, int]
) -> np.ndarray:
    """Returns the pixels (height, width, 3), uint8, of an RGB picture at this (width, height), resized by PyTorch.

    full_size: (width, height) before the picture was decoded smaller. A fraction of an odd side is rounded up, so that
    its last pixel reaches beyond the picture: this tells how far.
    """
    if picture.size == size:
        return np.asarray(picture)
    factors = [_factor(*sides) for sides in zip(size, picture.size, full_size, strict=True)]
    resized = F.interpolate(
        _shared_pixels(picture).permute(2, 0, 1)[None],
        scale_factor=(factors[1], factors[0]),
        mode=interpolation,
        antialias=True,
    )
    return resized[0, :3].permute(1, 2, 0).numpy()


def _shared_pixels(picture: Image.Image) -> torch.Tensor:
    """Returns (H, W, 4), uint8, over the memory of an RGB picture, which has a byte to spare; else a copy (H, W, 3).

    It is a copy for Pillow before 11.3, and where Pillow keeps a picture in several pieces: from 16 MiB on.
    """
    if hasattr(picture, "__arrow_c_array__"):
        # Not at the top: it takes a while, and comes with the package datasets, which pictures do not need.
        import pyarrow

        with suppress(ValueError):
            return torch.from_dlpack(pyarrow.array(picture).flatten()).view(*picture.size[::-1], 4)
    return torch.from_numpy(np.array(picture))


def _factor(size: int, decoded: int, full: int) -> float:
    """Returns what a side is multiplied by; PyTorch rounds the product down, which must not be one too small."""
    fraction = 1
    while -(-full // fraction) > decoded:
        fraction *= 2
    return size * fraction / full * (1 + 1e-9)


def _problems(steps: Sequence[Step]) -> list[str]:
    """Returns what keeps the steps from being made fast."""
    fixed = [step for step in steps if isinstance(step, Resize | CenterCrop | Pad)]
    if not fixed or not isinstance(fixed[0], Resize):
        return ["it does not begin with Resize"]
    problems = []
    if fixed[0].backend not in _BACKENDS or fixed[0].interpolation not in _INTERPOLATIONS:
        problems.append(
            f"its Resize has the backend {fixed[0].backend} with {fixed[0].interpolation}, but "
            f"{' or '.join(_BACKENDS)} with {' or '.join(_INTERPOLATIONS)} is needed"
        )
    if any(
        isinstance(step, Resize) or (isinstance(step, CenterCrop) and step.efficientnet_style) for step in fixed[1:]
    ):
        problems.append("it resizes a second time")
    kinds = [type(step) for step in steps]
    if Pad in kinds[kinds.index(Normalize) :]:
        problems.append("it pads after Normalize, with values that bytes cannot have")
    return problems
