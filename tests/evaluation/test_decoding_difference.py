from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.evaluation.decoding_difference import decoding_difference
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.classifier import Classifier


@pytest.fixture
def model(tiny_model_folder: Path) -> OpenedModel:
    return open_model(tiny_model_folder)


@pytest.fixture
def large_images(tmp_path: Path, photographs: tuple[Image.Image, ...]) -> list[Path]:
    paths = [tmp_path / f"large{number}.jpg" for number in range(2)]
    for path, photograph in zip(paths, photographs, strict=True):
        photograph.save(path, quality=90)
    return paths


def test_decoding_difference__of_photographs(model: OpenedModel, large_images: list[Path]) -> None:
    found = decoding_difference(model, large_images, with_answers=True)
    assert found is not None
    assert found.pictures == 2
    # They are decoded at a half of their sides, which is seen, and little.
    assert 0.01 < found.mean < 0.5
    assert 1 <= found.largest <= 12
    assert 0.97 < found.within_one < 1
    assert found.agreement in (0, 0.5, 1)
    assert str(found).startswith("Fast decoding: in 2 pictures, values differ by 0.")
    assert "top-1 agreement" in str(found)


def test_decoding_difference__counts_the_first_that_can_be_read(
    model: OpenedModel, large_images: list[Path], ten_images: list[Path], tmp_path: Path
) -> None:
    found = decoding_difference(
        model, [tmp_path / "missing.jpg", *large_images, *ten_images], with_answers=False, pictures=2
    )
    assert found is not None
    assert found == replace(found, pictures=2, agreement=None)
    assert found == decoding_difference(model, large_images, with_answers=False)
    assert "top-1" not in str(found)
    assert decoding_difference(model, [tmp_path / "missing.jpg"], with_answers=True) is None


def test_decoding_difference__equal_roads(model: OpenedModel, tmp_path: Path) -> None:
    # Nothing to resize: no difference.
    path = tmp_path / "small.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (36, 36, 3), np.uint8)).save(path)
    found = decoding_difference(model, [path], with_answers=True)
    assert found is not None
    assert (found.mean, found.largest, found.within_one, found.agreement) == (0, 0, 1, 1)


class Undecided(Classifier):
    """Answers with one class for the first of its pictures and another one for the rest."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(5)[: len(images)]


def test_decoding_difference__disagreement(model: OpenedModel, large_images: list[Path]) -> None:
    found = decoding_difference(replace(model, network=Undecided()), large_images, with_answers=True)
    assert found is not None
    assert found.agreement == 0
