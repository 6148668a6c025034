"""mmcls as the oracle of the transforms with chance."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from draws_like_ours import drawing_like_ours


@pytest.fixture
def by_mmcls() -> Callable:
    """Returns what mmcls's Compose of the steps makes of the picture, as a BGR array or as the tensor it ends in."""
    pipelines = pytest.importorskip("mmcls.datasets.pipelines", reason="the oracle comes with the extra openmmlab")

    def tupled(name: str, value: object) -> object:
        """mmcls takes lists where we take both, but tuples only for some keys."""
        if isinstance(value, dict):
            return {key: tupled(key, child) for key, child in value.items()}
        if name in ("policies", "eigval", "eigvec") and isinstance(value, list | tuple):
            return [tupled(name, child) for child in value]
        return tuple(value) if isinstance(value, list) else value

    def transform(steps: list[dict], picture: Image.Image, rng: np.random.Generator):
        steps = [step for step in copy.deepcopy(steps) if step["type"] not in ("LoadImageFromFile", "ToTensor")]
        compose = pipelines.Compose([{key: tupled(key, value) for key, value in step.items()} for step in steps])
        with drawing_like_ours(rng):
            # mmcls cuts views out of what it gets and erases in place.
            return compose({"img": np.array(picture)[:, :, ::-1].copy()})["img"]

    return transform
