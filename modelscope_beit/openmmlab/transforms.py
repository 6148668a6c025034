"""Lists of steps that mmcls makes, for pictures as we read them. Imported only where mmcls is; see installed.py."""

import threading
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmcls.datasets.pipelines import Compose
from PIL import Image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.openmmlab.drawing import drawing_from
from modelscope_beit.settings.foreign_steps import ForeignSteps

# Steps may draw from the generators of random and numpy, which all threads share.
_DRAWING = threading.Lock()
_TUPLES = ("size", "crop_size", "shape", "center")
_LOAD = "LoadImageFromFile"


class MmclsTransform:
    """Makes the network's input out of a picture by steps of mmcls.

    Raises SettingsError with what mmcls said if it cannot build a step.
    """

    def __init__(self, steps: ForeignSteps) -> None:
        self.steps = steps
        # Pictures are read upright and in colour before the steps; all that the first one can ask for is float.
        first = steps.steps[0] if steps.steps and steps.steps[0]["type"] == _LOAD else {}
        _check_loading(first)
        self._as_float = bool(first.get("to_float32", False))
        kept = [_with_tuples(step) for step in steps.steps if step is not first]
        try:
            self._compose = Compose(deepcopy(kept))
        except (KeyError, TypeError, ValueError, AssertionError, RuntimeError, ImportError) as error:
            raise SettingsError(
                "\n- ".join(
                    [f"mmcls cannot build the steps of the preprocessor: {error}", *steps.reasons, *_advice(error)]
                )
            ) from error
        # Albumentations 1.4.19 and newer have generators of their own, under mmcls's Albu.
        augmentations: list[Any] = [getattr(step, "aug", None) for step in self._compose.transforms]
        self._with_own_chance = [one for one in augmentations if hasattr(one, "set_random_seed")]

    def __call__(self, picture: Image.Image, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Returns (3, H, W) float32.

        picture: RGB, as images.reading.read_image gives it. rng: where chance comes from; without it, there is none.
        Raises ImageError if the steps fail on the picture, or do not end in such a tensor.
        """
        pixels = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])  # (H, W, 3), blue, green, red
        results = _as_loaded(pixels.astype(np.float32) if self._as_float else pixels)
        try:
            if rng is None:
                found = self._compose(results)
            else:
                with _DRAWING, drawing_from(rng):
                    for augmentation in self._with_own_chance:
                        augmentation.set_random_seed(int(rng.integers(2**32)))
                    found = self._compose(results)
        except Exception as error:
            raise ImageError(f"A step of mmcls failed on the picture: {type(error).__name__}: {error}") from error
        image = found.get("img") if isinstance(found, dict) else found
        if not isinstance(image, torch.Tensor) or image.ndim != 3:
            came = f"{type(image).__name__}{list(getattr(image, 'shape', ''))}"
            raise ImageError(
                f"The steps of mmcls must end in a tensor (3, H, W) under 'img', but it is {came}; end them with "
                "{'type': 'ImageToTensor', 'keys': ['img']}, {'type': 'Collect', 'keys': ['img']}."
            )
        return image.float()


def _advice(error: Exception) -> list[str]:
    return ["pip install albumentations"] if "albumentations is not installed" in str(error) else []


def _check_loading(step: Mapping[str, object]) -> None:
    if step.get("color_type", "color") != "color":
        raise SettingsError(
            f"{_LOAD}.color_type is {step['color_type']!r}, but only 'color' can be used: pictures are read as RGB."
        )


def _with_tuples(step: dict[str, object]) -> dict[str, object]:
    """Returns a step with tuples where JSON has lists and mmcls insists on tuples; in nested lists of steps too."""
    made: dict[str, object] = {}
    for name, value in step.items():
        if name in _TUPLES and isinstance(value, list):
            made[name] = tuple(value)
        elif isinstance(value, list) and all(isinstance(part, dict) for part in value):
            made[name] = [_with_tuples(part) for part in value]
        else:
            made[name] = value
    return made


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
