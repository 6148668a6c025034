"""Resizing with OpenCV's numbers, bit by bit, without OpenCV where that can be done.

OpenCV resizes bytes in fixed point: 11-bit weights, rows first, with rounding of its own, so no other library gives
the same pixels. Source of the arithmetic: opencv/modules/imgproc/src/resize.cpp (4.x and 5.x). "nearest" and
"bilinear" are the same on every processor; the other filters are not (on x86 they go through a closed library), so
they need OpenCV itself.
"""

import numpy as np

from modelscope_beit.errors import require

_WEIGHT_BITS = 11
_ONE = np.float32(1 << _WEIGHT_BITS)
# Output values that are computed at a time, so that the 32-bit intermediate rows stay in the processor's cache.
_BLOCK_VALUES = 1 << 16


def resize_like_opencv(pixels: np.ndarray, width: int, height: int, interpolation: str) -> np.ndarray:
    """Returns the pixels that cv2.resize makes.

    pixels: (H, W, 3), uint8, any channel order. interpolation: a name of settings.step_values.INTERPOLATIONS["cv2"].
    Returns (height, width, 3), uint8. Raises MissingPackageError if that filter needs OpenCV and it is not installed.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if interpolation == "nearest":
        rows = _nearest(pixels.shape[0], height)
        return pixels[rows[:, None], _nearest(pixels.shape[1], width)]
    if interpolation == "bilinear":
        if pixels.shape[:2] == (2 * height, 2 * width):
            return _halved(pixels)
        return _bilinear(pixels, width, height)
    cv2 = require("cv2", extra="openmmlab", purpose=f"to resize with backend cv2 and interpolation {interpolation}")
    filters = {"bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA, "lanczos": cv2.INTER_LANCZOS4}
    return cv2.resize(pixels, (width, height), interpolation=filters[interpolation])


def _nearest(source: int, target: int) -> np.ndarray:
    # OpenCV inverts the rounded ratio; source / target would round otherwise.
    return np.minimum(np.floor(np.arange(target) * (1 / (target / source))).astype(np.intp), source - 1)


def _halved(pixels: np.ndarray) -> np.ndarray:
    """Returns the mean of each 2x2 square, which is what OpenCV does when both sides are exactly halved."""
    wide = pixels.astype(np.uint16)
    rows = wide[::2] + wide[1::2]
    return ((rows[:, ::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)


def _bilinear(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    source_height, source_width, channels = pixels.shape
    left, fraction = _positions(source_width, width)
    # Columns beyond the edge take the edge with weight 1. Rows do not: they mix the edge with itself and round twice.
    fraction[(left < 0) | (left >= source_width - 1)] = 0
    left = left.clip(0, source_width - 1)
    right = _places(np.minimum(left + 1, source_width - 1), channels)
    left = _places(left, channels)
    left_weight, right_weight = _weights(np.repeat(fraction, channels))
    top, fraction = _positions(source_height, height)
    bottom = (top + 1).clip(0, source_height - 1)
    top = top.clip(0, source_height - 1)
    top_weight, bottom_weight = (weight[:, None] for weight in _weights(fraction))

    lines = pixels.reshape(source_height, -1)  # (H, W * 3)
    resized = np.empty((height, width * channels), np.uint8)
    block = max(1, _BLOCK_VALUES // (width * channels))
    for start in range(0, height, block):
        part = slice(start, start + block)
        needed, place = np.unique(np.concatenate([top[part], bottom[part]]), return_inverse=True)
        source = lines[needed]
        rows = np.take(source, left, axis=1).astype(np.int32) * left_weight
        rows += np.take(source, right, axis=1).astype(np.int32) * right_weight
        rows >>= 4  # 15 bits are left
        above, below = rows[place[: len(place) // 2]], rows[place[len(place) // 2 :]]
        above = (above * top_weight[part]) >> 16
        above += (below * bottom_weight[part]) >> 16
        resized[part] = (above + 2) >> 2
    return resized.reshape(height, width, channels)


def _places(columns: np.ndarray, channels: int) -> np.ndarray:
    """Returns where the values of these columns lie in a line of W * channels values."""
    return (columns[:, None] * channels + np.arange(channels)).ravel()


def _positions(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each target pixel the source pixel before it (may be -1) and how far it lies beyond that."""
    centers = ((np.arange(target) + 0.5) * (1 / (target / source)) - 0.5).astype(np.float32)
    before = np.floor(centers)
    return before.astype(np.intp), centers - before


def _weights(fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fixed-point weights of the pixel before and of the pixel after."""
    return (
        np.rint((np.float32(1) - fraction) * _ONE).astype(np.int32),
        np.rint(fraction * _ONE).astype(np.int32),
    )
