"""Picture -> network input, without chance: the one transform of prediction, evaluation and export.

The numbers equal those of mmcls 0.25's Compose of the same steps, given the picture as a BGR array. Resizing, cropping
and padding treat the channels alike, so the picture stays RGB until the end.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.images.opencv_resizing import resize_like_opencv
from modelscope_beit.images.reading import MAX_PIXELS
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Pad, Resize, Step, check_order

# A picture on its way: Pillow's as long as only Pillow touches it, then (H, W, 3) uint8. Both are RGB.
Pixels = Image.Image | np.ndarray

_PILLOW_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
}


class EvaluationTransform:
    """Makes the network's input out of a picture.

    steps: the mm steps; see settings.preprocessing. Raises SettingsError if they do not end in a normalised tensor.
    An object holds no state of a picture: threads may share it.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        check_order(steps)
        self.steps = tuple(steps)
        kinds = [type(step) for step in steps]
        place = kinds.index(Normalize)
        normalize = steps[place]
        assert isinstance(normalize, Normalize)
        self._before = [step for step in steps[:place] if isinstance(step, Resize | CenterCrop | Pad)]
        self._after = [step for step in steps[place:] if isinstance(step, CenterCrop | Pad)]
        self._channels = (0, 1, 2) if normalize.to_rgb else (2, 1, 0)
        self._values = _normalized_bytes(normalize)

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Returns (3, H, W) float32, contiguous; the channels are RGB, or BGR where Normalize.to_rgb is false.

        picture: RGB, as images.reading.read_image gives it. Raises ImageError if it has another mode, or proportions
        that the steps turn into nothing or into more than MAX_PIXELS.
        """
        if picture.mode != "RGB":
            raise ImageError(f"An RGB picture is expected, not one of mode {picture.mode}; read it with read_image.")
        pixels: Pixels = picture
        for step in self._before:
            pixels = _applied(pixels, step)
        array = np.asarray(pixels)  # (H, W, 3) uint8
        normalized = np.empty((3, *array.shape[:2]), np.float32)
        for place, channel in enumerate(self._channels):
            np.take(self._values[place], array[:, :, channel], out=normalized[place], mode="clip")
        for late_step in self._after:
            normalized = _crop_or_pad(normalized, late_step)
        return torch.from_numpy(normalized)


def _normalized_bytes(normalize: Normalize) -> np.ndarray:
    """Returns (3, 256) float32: what each value of a byte becomes in each channel of the network's input.

    mmcv subtracts in single precision and multiplies by 1 / std in double precision; 1 / std is taken of the single
    precision std. Source: mmcv 1.7.2, image/photometric.py, and OpenCV's arithmetic with a scalar.
    """
    mean = np.array(normalize.mean, np.float32)[:, None]
    factor = 1 / np.array(normalize.std, np.float32).astype(np.float64)[:, None]
    difference = np.arange(256, dtype=np.float32) - mean
    return (difference.astype(np.float64) * factor).astype(np.float32)


def _applied(pixels: Pixels, step: Resize | CenterCrop | Pad) -> Pixels:
    """Returns the pixels after a step that comes before Normalize."""
    if isinstance(step, Resize):
        return _resize(pixels, *_resized_size(*_size(pixels), step), step)
    if isinstance(step, CenterCrop):
        return _center_crop(pixels, step)
    return _pad(np.asarray(pixels), step, reverse_values=True)


def _size(pixels: Pixels) -> tuple[int, int]:
    """Returns (width, height)."""
    return pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[1], pixels.shape[0])


def _resized_size(width: int, height: int, step: Resize) -> tuple[int, int]:
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
    _check_size((width, height), size)
    return size


def _check_size(before: tuple[int, int], after: tuple[int, int]) -> None:
    if min(after) < 1 or after[0] * after[1] > MAX_PIXELS:
        raise ImageError(
            f"A picture of {before[0]}x{before[1]} pixels would become one of {after[0]}x{after[1]}, but 1 to "
            f"{MAX_PIXELS} pixels are expected; cut it to a less extreme shape."
        )


def _resize(pixels: Pixels, width: int, height: int, step: Resize | CenterCrop) -> Pixels:
    if step.backend == "cv2":
        return resize_like_opencv(np.asarray(pixels), width, height, step.interpolation)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), _PILLOW_FILTERS[step.interpolation])


def _center_crop(pixels: Pixels, step: CenterCrop) -> Pixels:
    width, height = _size(pixels)
    box = _crop_box(width, height, step)
    left, top, right, bottom = box
    if box != (0, 0, width, height):
        pixels = pixels.crop(box) if isinstance(pixels, Image.Image) else pixels[top:bottom, left:right]
    if step.efficientnet_style:
        assert isinstance(step.crop_size, int), "checked by CenterCrop"
        return _resize(pixels, step.crop_size, step.crop_size, step)
    return pixels


def _crop_box(width: int, height: int, step: CenterCrop) -> tuple[int, int, int, int]:
    """Returns (left, top, right, bottom), rounded as mmcls rounds: halves to the even number, ends down."""
    sides = (step.crop_size, step.crop_size) if isinstance(step.crop_size, int) else step.crop_size
    crop_height, crop_width = map(float, sides)
    if step.efficientnet_style:
        crop_height, crop_width = (side / (side + step.crop_padding) * min(width, height) for side in sides)
    top = max(0, round((height - crop_height) / 2))
    left = max(0, round((width - crop_width) / 2))
    # mmcls truncates the last row and column, not the first beyond them. One pixel stays where it would fail.
    bottom = max(top, int(min(height, top + crop_height) - 1)) + 1
    right = max(left, int(min(width, left + crop_width) - 1)) + 1
    return left, top, right, bottom


def _crop_or_pad(normalized: np.ndarray, step: CenterCrop | Pad) -> np.ndarray:
    """Returns (3, H, W) after a step that follows Normalize."""
    pixels = normalized.transpose(1, 2, 0)  # (H, W, 3)
    if isinstance(step, Pad):
        changed = _pad(pixels, step, reverse_values=False)
    else:
        left, top, right, bottom = _crop_box(*_size(pixels), step)
        changed = pixels[top:bottom, left:right]
    return np.ascontiguousarray(changed.transpose(2, 0, 1))


def _pad(pixels: np.ndarray, step: Pad, *, reverse_values: bool) -> np.ndarray:
    """Returns the pixels with rows below and columns at the right.

    reverse_values: pad_val is in BGR order while the pixels are RGB.
    """
    height, width = pixels.shape[:2]
    target_height, target_width = step.size or (max(height, width),) * 2
    target_height, target_width = max(height, target_height), max(width, target_width)
    _check_size((width, height), (target_width, target_height))
    added = ((0, target_height - height), (0, target_width - width), (0, 0))
    if step.padding_mode != "constant":
        return np.pad(pixels, added, mode=step.padding_mode)  # type: ignore[call-overload]
    values = step.pad_val if isinstance(step.pad_val, tuple) else (step.pad_val, 0, 0)
    if pixels.dtype == np.uint8:
        values = tuple(np.rint(values).clip(0, 255))
    padded = np.empty((target_height, target_width, 3), pixels.dtype)
    padded[:] = values[::-1] if reverse_values else values
    padded[:height, :width] = pixels
    return padded
