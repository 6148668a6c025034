"""Shearing, moving and turning with OpenCV's numbers.

Where OpenCV is installed it does the work, and the pixels are mmcls's. Without it the same is computed here in single
precision, as OpenCV 5 does: fewer than 1 of 100 values are one level away from OpenCV 5.0.0's ("nearest": fewer than 1
of 100 pixels are a neighbour). OpenCV up to 4.10 rounds places to 1/32 pixel, by its source: that makes 0.2 levels in
the mean and up to 5 in photographs, 1 and up to 8 in noise.
Source: mmcv 1.7.2, image/geometric.py; opencv/modules/imgproc/src/imgwarp.cpp.
"""

import math
from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch.nn import functional

from modelscope_beit.errors import require

# OpenCV warps with "area" as with "bilinear".
_SAME_AS = {"area": "bilinear"}


def shear(
    pixels: np.ndarray, magnitude: float, direction: str, fill: tuple[float, ...], interpolation: str
) -> np.ndarray:
    """Returns the pixels sheared: moved by `magnitude` pixels along the direction per pixel across it."""
    across = [[1, magnitude, 0], [0, 1, 0]] if direction == "horizontal" else [[1, 0, 0], [magnitude, 1, 0]]
    return _warped(pixels, np.array(across, np.float32), fill, interpolation)


def translate(
    pixels: np.ndarray, share: float, direction: str, fill: tuple[float, ...], interpolation: str
) -> np.ndarray:
    """Returns the pixels moved by a share of the width to the right, or of the height downwards."""
    height, width = pixels.shape[:2]
    by = [[1, 0, share * width], [0, 1, 0]] if direction == "horizontal" else [[1, 0, 0], [0, 1, share * height]]
    return _warped(pixels, np.array(by, np.float32), fill, interpolation)


def rotate(
    pixels: np.ndarray,
    angle: float,
    fill: tuple[float, ...],
    interpolation: str,
    *,
    center: tuple[float, float] | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """Returns the pixels turned clockwise by so many degrees around `center` (x, y), by default the middle."""
    height, width = pixels.shape[:2]
    x, y = (float(np.float32(place)) for place in center or ((width - 1) * 0.5, (height - 1) * 0.5))
    radians = -angle * math.pi / 180
    cosine, sine = math.cos(radians) * scale, math.sin(radians) * scale
    matrix = [[cosine, sine, (1 - cosine) * x - sine * y], [-sine, cosine, sine * x + (1 - cosine) * y]]
    return _warped(pixels, np.array(matrix), fill, interpolation)


def _warped(pixels: np.ndarray, matrix: np.ndarray, fill: tuple[float, ...], interpolation: str) -> np.ndarray:
    """Returns what cv2.warpAffine makes; matrix (2, 3): from a pixel's place (x, y) to its new one. fill: RGB."""
    interpolation = _SAME_AS.get(interpolation, interpolation)
    cv2 = _opencv()
    if cv2 is None and interpolation != "lanczos":
        return _warped_in_single_precision(pixels, matrix, fill, interpolation)
    if cv2 is None:
        cv2 = require("cv2", extra="openmmlab", purpose="to warp with the interpolation lanczos")
    height, width = pixels.shape[:2]
    filters = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
    flag = filters.get(interpolation, cv2.INTER_LANCZOS4)
    values = tuple(map(float, fill))
    return cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (width, height), flags=flag, borderValue=values)


@cache
def _opencv() -> ModuleType | None:
    try:
        import cv2  # It comes with an extra, or not at all.
    except ImportError:
        return None
    return cv2


def _warped_in_single_precision(
    pixels: np.ndarray, matrix: np.ndarray, fill: tuple[float, ...], interpolation: str
) -> np.ndarray:
    height, width = pixels.shape[:2]
    inverse = np.linalg.inv(np.vstack([matrix.astype(np.float64), [0, 0, 1]]))[:2].astype(np.float32)
    columns = np.arange(width, dtype=np.float32)
    rows = np.arange(height, dtype=np.float32)[:, None]
    # (H, W): the place in the picture that each new pixel comes from.
    x = columns * inverse[0, 0] + (rows * inverse[0, 1] + inverse[0, 2])
    y = columns * inverse[1, 0] + (rows * inverse[1, 1] + inverse[1, 2])
    grid = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)
    # Outside is 0 for grid_sample, so the picture is sampled as its difference from what comes in.
    outside = np.rint(np.array(fill, np.float32))
    differences = torch.from_numpy((pixels - outside).transpose(2, 0, 1).copy())[None]  # (1, 3, H, W)
    sampled = functional.grid_sample(
        differences, torch.from_numpy(grid)[None], mode=interpolation, padding_mode="zeros", align_corners=False
    )
    warped = sampled[0].numpy().transpose(1, 2, 0) + outside
    return np.rint(warped).clip(0, 255).astype(np.uint8)
