"""Code of others under our random numbers; torchvision's transforms draw from torch."""

import random
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from modelscope_beit.openmmlab.drawing import drawing_from

DRAWS: dict[str, Callable[[], object]] = {
    "random": random.random,
    "numpy": lambda: float(np.random.uniform()),
    "torch.rand": lambda: torch.rand(3).tolist(),
    "torch.randperm": lambda: torch.randperm(50).tolist(),
    "torch.randn_like": lambda: torch.randn_like(torch.zeros(2, dtype=torch.float64)).tolist(),
    "uniform_": lambda: torch.empty(1).uniform_(-1, 1).item(),
    "RandomResizedCrop": lambda: v2.RandomResizedCrop(8, antialias=True)(torch.arange(900.0).view(1, 30, 30)).tolist(),
    "AugMix": lambda: v2.AugMix()(torch.arange(243, dtype=torch.uint8).view(3, 9, 9)).tolist(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_drawing_from__the_generator_alone_decides(name: str) -> None:
    def drawn(seed: int) -> object:
        torch.rand(1), random.random(), np.random.rand()
        with drawing_from(np.random.default_rng(seed)):
            return DRAWS[name]()

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("name", DRAWS)
def test_drawing_from__leaves_the_shared_generators_as_they_were(name: str) -> None:
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    with drawing_from(np.random.default_rng(0)):
        DRAWS[name]()
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected


def test_drawing_from__torch_in_other_threads_goes_on_undisturbed() -> None:
    """A network that trains in the main thread draws its dropout from torch's generator meanwhile."""
    torch.manual_seed(7)
    expected = torch.rand(20).tolist()
    inside, done = threading.Event(), threading.Event()

    def augment() -> None:
        with drawing_from(np.random.default_rng(0)):
            inside.set()
            while not done.wait(0.001):
                torch.rand(5)

    thread = threading.Thread(target=augment)
    thread.start()
    inside.wait()
    torch.manual_seed(7)
    drawn = [torch.rand(1).item() for _ in range(20)]
    done.set()
    thread.join()
    assert drawn == expected
