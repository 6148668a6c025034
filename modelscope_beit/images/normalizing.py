"""(pixel - mean) / std with mmcv's numbers, bit by bit."""

import numpy as np

from modelscope_beit.settings.preprocessing import Normalize


class Normalizing:
    """Makes the network's input (3, H, W) float32 of RGB pixels (H, W, 3).

    The channels come out as RGB, or as BGR where `to_rgb` is false. Source: mmcv 1.7.2, image/photometric.py: it
    subtracts in single precision and multiplies by 1 / std in double precision; 1 / std is taken of the single
    precision std.
    """

    def __init__(self, step: Normalize) -> None:
        self._channels = (0, 1, 2) if step.to_rgb else (2, 1, 0)
        self._mean = np.array(step.mean, np.float32)
        self._factor = 1 / np.array(step.std, np.float32).astype(np.float64)
        values = np.arange(256, dtype=np.float32)
        # What each value of a byte becomes in each channel of the network's input.
        self._bytes = [self._normalized(values, place) for place in range(3)]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Returns a new array; pixels: uint8, or float as Lighting leaves them."""
        normalized = np.empty((3, *pixels.shape[:2]), np.float32)
        for place, channel in enumerate(self._channels):
            if pixels.dtype == np.uint8:
                np.take(self._bytes[place], pixels[:, :, channel], out=normalized[place], mode="clip")
            else:
                normalized[place] = self._normalized(pixels[:, :, channel].astype(np.float32), place)
        return normalized

    def _normalized(self, values: np.ndarray, place: int) -> np.ndarray:
        """Returns what single precision values become in one channel of the network's input."""
        return ((values - self._mean[place]).astype(np.float64) * self._factor[place]).astype(np.float32)
