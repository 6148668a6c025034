"""Real JPEG files, small and all different."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Writer = Callable[[Path, Iterable[str]], list[str]]


def write_jpegs(folder: Path, names: Iterable[str]) -> list[str]:
    """Writes a picture of 40 x 32 pixels under each name, made from the name, and returns the paths."""
    paths = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(list(str(path).encode())).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(pixels).resize((40, 32)).save(path, format="JPEG")
        paths.append(str(path))
    return paths


@pytest.fixture
def jpegs() -> Writer:
    return write_jpegs
