"""mmcls as the oracle of everything with chance: it draws the numbers that our generator gives."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch


class DrawsLikeOurs:
    """The functions of `random` and `numpy.random` that mmcls, mmcv and timm call, fed by one numpy Generator.

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

    def rand(self, *size: int):
        return self.rng.random(size or None)

    def inclusive_integer(self, low: int, high: int) -> int:
        if high == 2**32 - 1:
            return 0  # the seed of a RandomState, which draws from our generator all the same
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

    def permutation(self, count: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.permutation(count))

    def state(self, seed: int) -> "_State":
        return _State(self.rng)


class _State:
    """Stands for numpy.random.RandomState, of which mmcls makes one to choose how to mix a batch."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def choice(self, choices: list, p: list):
        return choices[int(np.cumsum(p).searchsorted(self.rng.random(), side="right"))]


@contextmanager
def drawing_like_ours(rng: np.random.Generator) -> Iterator[None]:
    """Makes `random`, `numpy.random` and torch.randperm draw from a generator."""
    draws = DrawsLikeOurs(rng)
    places = {
        random: {
            **{name: getattr(draws, name) for name in ("uniform", "choice", "choices", "shuffle")},
            **{"random": rng.random, "gauss": rng.normal, "randint": draws.inclusive_integer},
        },
        np.random: {
            **{name: getattr(draws, name) for name in ("uniform", "normal", "rand")},
            **{"randint": draws.integer, "beta": rng.beta, "RandomState": draws.state},
        },
        torch: {"randperm": draws.permutation},
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, functions in places.items():
            for name, function in functions.items():
                patch.setattr(module, name, function)
        yield
