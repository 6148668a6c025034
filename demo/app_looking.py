"""Draws where a model looked: the picture as the network gets it, with the evidence for a class over it."""

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.settings.preprocessing import Normalize

_SIDE = 448
_COLORS = colormaps["inferno"]
# How much of the picture is left where nothing speaks for the class, and how much of its colour.
_DIMMED, _GREYED = 0.45, 0.75


def pixels_of(image: Tensor, transform: EvaluationTransform) -> Image.Image:
    """Returns the picture that a network's input (3, H, W) shows."""
    normalize = next(step for step in transform.steps if isinstance(step, Normalize))
    pixels = image.numpy().transpose(1, 2, 0) * np.array(normalize.std) + np.array(normalize.mean)
    if not normalize.to_rgb:
        pixels = pixels[:, :, ::-1]
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def looked_picture(picture: Image.Image, evidence: np.ndarray) -> Image.Image:
    """Returns the picture, enlarged and dimmed, with glowing places where the evidence (rows, columns) is positive."""
    scale = _SIDE / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    shown = np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.float64) / 255
    grey = shown.mean(axis=2, keepdims=True)
    quiet = _DIMMED * (grey * _GREYED + shown * (1 - _GREYED))
    heat = np.maximum(evidence, 0)
    heat = heat / max(heat.max(), np.finfo(np.float64).tiny)
    smooth = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    strength = np.asarray(smooth, np.float64).clip(0, 1)
    glow = _COLORS(0.25 + 0.7 * strength)[:, :, :3]
    weight = 0.85 * strength[:, :, None] ** 0.75
    return Image.fromarray((255 * (quiet * (1 - weight) + glow * weight)).round().astype(np.uint8))
