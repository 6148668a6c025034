"""Resizing with the numbers of transformers' default processors: torchvision on bytes, with antialiasing.

They differ from Pillow's by one level of 255, rarely two, in about one value of a hundred: the weights have 16 bits
here and 22 there. Which arithmetic runs depends on the processor and on torchvision's version, so it is asked.
"""

import numpy as np
import torch

from modelscope_beit.errors import MissingPackageError


def resize_like_torchvision(pixels: np.ndarray, width: int, height: int, interpolation: str) -> np.ndarray:
    """Returns the pixels that torchvision's resize makes of a tensor of bytes.

    pixels: (H, W, 3), uint8. interpolation: a name of settings.step_values.INTERPOLATIONS["torchvision"]; "nearest" is
    torchvision's NEAREST_EXACT, which transformers takes for Pillow's number 0.
    Returns (height, width, 3), uint8. Raises MissingPackageError if torchvision is too old for the filter.
    """
    # Not at the top: it takes as long as importing torch, and few folders ask for it.
    from torchvision.transforms.v2.functional import InterpolationMode, resize

    modes = {
        "nearest": InterpolationMode.NEAREST_EXACT,
        "bilinear": InterpolationMode.BILINEAR,
        "bicubic": InterpolationMode.BICUBIC,
        "lanczos": InterpolationMode.LANCZOS,
    }
    # A copy where Pillow's memory must not be written to; torch would warn.
    tensor = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
    try:
        resized = resize(tensor, [height, width], interpolation=modes[interpolation], antialias=True)
    except NotImplementedError as error:
        raise MissingPackageError(
            f"torchvision 0.27 or newer is needed to resize with {interpolation}, but the one here refuses it "
            f"({error}). Update it, or set the step's backend to pillow, which differs by a level or two of 255."
        ) from error
    return resized.permute(1, 2, 0).numpy()
