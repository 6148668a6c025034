"""Picture -> network input, without chance: the one transform of prediction, evaluation and export.

The numbers equal those of mmcls 0.25's Compose of the same steps, given the picture as a BGR array. Resizing, cropping
and padding treat the channels alike, so the picture stays RGB until the end.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.images.fixed_steps import apply_fixed_steps, crop_or_pad
from modelscope_beit.images.normalizing import Normalizing
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Pad, Resize, Step, check_order


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
        self._normalize = Normalizing(normalize)

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Returns (3, H, W) float32, contiguous; the channels are RGB, or BGR where Normalize.to_rgb is false.

        picture: RGB, as images.reading.read_image gives it. Raises ImageError if it has another mode, or proportions
        that the steps turn into nothing or into more than MAX_PIXELS.
        """
        if picture.mode != "RGB":
            raise ImageError(f"An RGB picture is expected, not one of mode {picture.mode}; read it with read_image.")
        pixels = apply_fixed_steps(picture, self._before)
        normalized = self._normalize(np.asarray(pixels)).transpose(1, 2, 0)  # (H, W, 3)
        for late_step in self._after:
            normalized = crop_or_pad(normalized, late_step)
        return torch.from_numpy(np.ascontiguousarray(normalized.transpose(2, 0, 1)))
