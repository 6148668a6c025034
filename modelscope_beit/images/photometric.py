"""Changes of light and colour, with the numbers of mmcv 1.7.2's OpenCV functions, without OpenCV.

Pixels are RGB, (H, W, 3), uint8, and so is what comes back. mmcv blends in single precision and cuts the fraction off,
so the last bit of a product decides about a whole level: like OpenCV on processors with fused multiply-add (x86 from
2013 on, all of ARM64), `value * factor + plain * (1 - factor)` rounds the second product and the sum, but not the
first product. On others OpenCV's levels may be one lower or higher here and there.
Source: mmcv 1.7.2, image/photometric.py; opencv/modules/core/src/arithm.simd.hpp.
"""

import math

import numpy as np

from modelscope_beit.settings.augmentation_steps import Lighting

_LEVELS = np.arange(256)


def invert(pixels: np.ndarray) -> np.ndarray:
    """Returns the negative."""
    return 255 - pixels


def solarize(pixels: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the negative of values from the threshold upwards, the others as they are."""
    return _looked_up(pixels, np.where(_LEVELS < threshold, _LEVELS, 255 - _LEVELS))


def solarize_add(pixels: np.ndarray, added: float, threshold: float) -> np.ndarray:
    """Returns the pixels with `added` added to values below the threshold, rounded down, at most 255.

    (numpy makes mmcls start again from 0 there if `added` is a whole number; RandAugment's are not.)
    """
    return _looked_up(pixels, np.where(_LEVELS < threshold, (_LEVELS + added).clip(0, 255), _LEVELS))


def posterize(pixels: np.ndarray, bits: float) -> np.ndarray:
    """Returns the pixels with only the upper bits, rounded up to a whole number, of each value."""
    lost = 8 - math.ceil(bits)
    return _looked_up(pixels, _LEVELS >> lost << lost)


def auto_contrast(pixels: np.ndarray) -> np.ndarray:
    """Returns the pixels with each channel stretched from 0 to 255; a channel of one value stays."""
    tables = []
    for channel in range(3):
        low, high = int(pixels[:, :, channel].min()), int(pixels[:, :, channel].max())
        scale = 255.0 / (high - low) if low < high else 1.0
        offset = -low * scale if low < high else 0.0
        tables.append((_LEVELS * scale + offset).clip(0, 255))
    return _looked_up_by_channel(pixels, tables)


def equalize(pixels: np.ndarray) -> np.ndarray:
    """Returns the pixels with each channel's histogram made even; a channel that is nearly one value stays."""
    tables = []
    for channel in range(3):
        histogram = np.bincount(pixels[:, :, channel].ravel(), minlength=256)
        step = (histogram.sum() - histogram[histogram > 0][-1]) // 255
        table = _LEVELS
        if step:
            sums = (histogram.cumsum() + step // 2) // step
            table = np.concatenate([[0], sums[:-1]]).clip(max=255)
        tables.append(table)
    return _looked_up_by_channel(pixels, tables)


def gray_of(pixels: np.ndarray) -> np.ndarray:
    """Returns (H, W) uint8: OpenCV's grey, 15-bit weights of red, green and blue."""
    red, green, blue = (pixels[:, :, channel].astype(np.int32) for channel in range(3))
    return ((red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15).astype(np.uint8)


def grayscale(pixels: np.ndarray) -> np.ndarray:
    """Returns grey pixels, as RandomGrayscale makes them: mmcls gives red the weight of blue and the reverse."""
    return np.repeat(gray_of(pixels[:, :, ::-1])[:, :, None], 3, axis=2)


def adjust_brightness(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Returns the pixels blended with black; factor: 0 is black, 1 the picture, above 1 brighter."""
    return _looked_up(pixels, _blended(_LEVELS, 0, factor))


def adjust_contrast(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Returns the pixels blended with the mean of their grey."""
    gray = gray_of(pixels)
    return _looked_up(pixels, _blended(_LEVELS, round(gray.sum() / gray.size), factor))


def adjust_color(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Returns the pixels blended with their grey; here, unlike elsewhere, levels are rounded to the nearest."""
    gray = gray_of(pixels)[:, :, None]
    return np.rint(_blended(pixels, gray, factor)).astype(np.uint8)


def adjust_sharpness(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Returns the pixels blended with blurred ones (3x3: 5 in the middle, 1 around, over 13; mirrored at the edge)."""
    return _blended(pixels, _blurred(pixels), factor).astype(np.uint8)


def add_light(pixels: np.ndarray, step: Lighting, shares: np.ndarray) -> np.ndarray:
    """Returns float pixels with light added along the main axes of the colours.

    shares: (n,) of each axis. Where to_rgb, mmcls turns the channels round, and so are these.
    """
    light = (np.array(step.eigvec) * shares * np.array(step.eigval)).sum(axis=1)
    # mmcls's array is BGR, and RGB after the turn; ours is always the reverse of it before Normalize.
    ours = pixels[:, :, ::-1] if step.to_rgb else pixels
    return ours.astype(np.float32) + light[::-1]


def _looked_up(pixels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Returns the table's value, cut to a whole number, of each value."""
    return np.take(table.astype(np.uint8), pixels, mode="clip")


def _looked_up_by_channel(pixels: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    found = np.empty_like(pixels)
    for channel, table in enumerate(tables):
        found[:, :, channel] = _looked_up(pixels[:, :, channel], table)
    return found


def _blended(values: np.ndarray, plain: np.ndarray | int, factor: float) -> np.ndarray:
    """Returns values * factor + plain * (1 - factor), 0 to 255, single precision; both are whole levels."""
    products = np.arange(256) * float(np.float32(factor))
    plain_products = (np.arange(256, dtype=np.float32) * np.float32(1 - factor)).astype(np.float64)
    return (products[values] + plain_products[plain]).astype(np.float32).clip(0, 255)


def _blurred(pixels: np.ndarray) -> np.ndarray:
    """Returns the mean with the eight neighbours, the middle weighing 5 of 13; no sum of bytes / 13 is halfway."""
    height, width = pixels.shape[:2]
    mirrored = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="reflect").astype(np.uint16)
    rows = mirrored[:, :width] + mirrored[:, 1 : width + 1] + mirrored[:, 2:]
    sums = rows[:height] + rows[1 : height + 1] + rows[2:] + 4 * mirrored[1:-1, 1:-1]
    return ((2 * sums + 13) // 26).astype(np.uint8)
