"""Lists of steps that mmcls makes, for pictures as we read them. Imported only where mmcls is; see installed.py."""

import random
import threading
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmcls.datasets.pipelines import Compose
from PIL import Image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.settings.foreign_steps import ForeignSteps

# mmcls draws from the generators of random and numpy, which all threads share.
_DRAWING = threading.Lock()
_TUPLES = ("size", "crop_size", "shape", "center")


class MmclsTransform:
    """Makes the network's input out of a picture by steps of mmcls.

    Raises SettingsError with what mmcls said if it cannot build a step.
    """

    def __init__(self, steps: ForeignSteps) -> None:
        self.steps = steps
        # Pictures are read upright and in colour before the steps, whatever the first one says.
        kept = [_with_tuples(step) for step in steps.steps if step["type"] != "LoadImageFromFile"]
        try:
            self._compose = Compose(deepcopy(kept))
        except (KeyError, TypeError, ValueError, AssertionError, RuntimeError, ImportError) as error:
            raise SettingsError(
                "\n- ".join([f"mmcls cannot build the steps of the preprocessor: {error}", *steps.reasons])
            ) from error

    def __call__(self, picture: Image.Image, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Returns (3, H, W) float32.

        picture: RGB, as images.reading.read_image gives it. rng: where chance comes from; without it, there is none.
        Raises ImageError if the steps fail on the picture, or do not end in such a tensor.
        """
        results = _as_loaded(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))
        try:
            if rng is None:
                found = self._compose(results)
            else:
                with _DRAWING:
                    found = _drawn_from(rng, lambda: self._compose(results))
        except Exception as error:
            raise ImageError(f"A step of mmcls failed on the picture: {type(error).__name__}: {error}") from error
        image = found.get("img") if isinstance(found, dict) else None
        if not isinstance(image, torch.Tensor) or image.ndim != 3:
            raise ImageError(
                f"The steps of mmcls must end in a tensor (3, H, W) under 'img', but it is {type(image).__name__}; add "
                "{'type': 'ImageToTensor', 'keys': ['img']}."
            )
        return image.float()


def _with_tuples(step: dict[str, object]) -> dict[str, object]:
    """Returns a step with tuples where JSON has lists and mmcls insists on tuples."""
    return {
        name: tuple(value) if name in _TUPLES and isinstance(value, list) else value for name, value in step.items()
    }


def _as_loaded(image: np.ndarray) -> dict[str, Any]:
    """Returns what mmcls's LoadImageFromFile makes of a picture, with a label that steps may ask for."""
    return {
        "filename": None,
        "ori_filename": None,
        "img": image,
        "img_shape": image.shape,
        "ori_shape": image.shape,
        "img_norm_cfg": {
            "mean": np.zeros(3, dtype=np.float32),
            "std": np.ones(3, dtype=np.float32),
            "to_rgb": False,
        },
        "gt_label": np.array(0, dtype=np.int64),
    }


def _drawn_from(rng: np.random.Generator, function: Any) -> Any:
    """Returns what a function gives while random and numpy draw from seeds of a generator; both are put back after."""
    states = random.getstate(), np.random.get_state()
    random.seed(int(rng.integers(2**32)))
    np.random.seed(int(rng.integers(2**32)))
    try:
        return function()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
