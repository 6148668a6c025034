"""mmcls as the oracle of the transforms with chance: it draws the numbers that our generator gives."""

import copy
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image


class DrawsLikeOurs:
    """The functions of `random` and `numpy.random` that mmcls and mmcv call, fed by one numpy Generator.

    Each gives what theirs gives, drawn the way our code draws it: so equal pictures mean equal numbers, drawn from
    equal distributions in the same order.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def uniform(self, low: float = 0.0, high: float = 1.0, size: tuple[int, ...] | None = None):
        if size is not None:
            assert (low, high) == (0, 256), "only RandomErasing draws many; it makes bytes of them"
            return self.rng.integers(0, 256, size, np.uint8)
        return low + (high - low) * self.rng.random()

    def inclusive_integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def integer(self, low: int, high: int, size: None = None) -> int:
        return int(self.rng.integers(low, high))

    def normal(self, mean, std, size):
        if isinstance(size, int):
            return self.rng.normal(mean, std, size)
        noise = self.rng.standard_normal(size, np.float32)
        return noise * np.array(std, np.float32) + np.array(mean, np.float32)

    def choice(self, choices: list):
        return choices[self.rng.integers(len(choices))]

    def choices(self, choices: list, k: int) -> list:
        return [choices[place] for place in self.rng.integers(len(choices), size=k)]

    def shuffle(self, values: list) -> None:
        values[:] = [values[place] for place in self.rng.permutation(len(values))]


@pytest.fixture
def draw_like_ours(monkeypatch) -> Iterator[Callable[[np.random.Generator], None]]:
    """Makes `random` and `numpy.random` draw from a generator until the test ends."""

    def patch(rng: np.random.Generator) -> None:
        draws = DrawsLikeOurs(rng)
        for name in ("uniform", "choice", "choices", "shuffle"):
            monkeypatch.setattr(random, name, getattr(draws, name))
        monkeypatch.setattr(random, "random", rng.random)
        monkeypatch.setattr(random, "gauss", rng.normal)
        monkeypatch.setattr(random, "randint", draws.inclusive_integer)
        for name in ("uniform", "normal"):
            monkeypatch.setattr(np.random, name, getattr(draws, name))
        monkeypatch.setattr(np.random, "rand", rng.random)
        monkeypatch.setattr(np.random, "randint", draws.integer)

    yield patch
    monkeypatch.undo()


@pytest.fixture
def by_mmcls(draw_like_ours) -> Callable:
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
        draw_like_ours(rng)
        # mmcls cuts views out of what it gets and erases in place.
        return compose({"img": np.array(picture)[:, :, ::-1].copy()})["img"]

    return transform
