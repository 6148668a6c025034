"""Pictures of the tokenizer: that they show what they say."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from modelscope_beit.pretraining.codebook import Quantized
from modelscope_beit.pretraining.tokenizer_pictures import (
    code_colours,
    draw_code_patches,
    draw_curves,
    draw_token_maps,
    nearest_places,
)

COLOURS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])


def colours_in(path: Path) -> set[tuple[int, ...]]:
    """Returns the colours of many pixels of a picture."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(map(int, colour)) for colour, count in zip(found, counts, strict=True) if count > 200}


def pictures() -> torch.Tensor:
    """Two pictures of 2 x 2 patches of 4 pixels, each patch of one colour; the second one is upside down."""
    one = COLOURS.reshape(2, 2, 3).repeat_interleave(4, 0).repeat_interleave(4, 1).permute(2, 0, 1)
    return torch.stack([one, one.flip(1)])


def test_nearest_places__are_those_of_the_code_best_first() -> None:
    numbers, likeness = torch.tensor([1, 0, 1, 1, 0]), torch.tensor([0.5, 0.99, 0.9, 0.7, 0.1])
    assert nearest_places(numbers, likeness, 1) == [2, 3, 0]
    assert nearest_places(numbers, likeness, 7) == []


def test_draw_code_patches__shows_the_patches_of_often_chosen_codes(tmp_path: Path) -> None:
    # Only red and yellow patches have the same code in both pictures; the code of the others is another one each.
    numbers = torch.tensor([[5, 0, 1, 5], [2, 5, 5, 3]])
    features = torch.ones(2, 4, 1)
    quantized = Quantized(numbers, features, features, torch.zeros(()))
    path = draw_code_patches(tmp_path / "patches.png", pictures(), quantized, 4)
    assert {(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 0, 255)} <= colours_in(path)
    height, width = np.asarray(Image.open(path)).shape[:2]
    assert 0.3 < height / width < 1.2


def test_draw_token_maps__draws_pictures_above_their_codes(tmp_path: Path) -> None:
    numbers = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    path = draw_token_maps(tmp_path / "maps.png", pictures(), numbers, torch.eye(4), (2, 2))
    expected = {tuple(int(round(255 * value)) for value in colour) for colour in code_colours(torch.eye(4))}
    found = colours_in(path)
    assert {(255, 0, 0), (0, 255, 0)} <= found
    assert all(
        any(max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1 for other in found) for one in expected
    )


def test_code_colours__alike_codes_have_alike_colours() -> None:
    near = torch.tensor([[1.0, 0, 0, 0], [0.99, 0.1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]])
    colours = code_colours(near)
    assert colours.shape == (5, 3) and colours.min() >= 0 and colours.max() <= 1
    distances = np.linalg.norm(colours[1:] - colours[0], axis=1)
    assert distances[0] < 0.3 and distances[1:].min() > 0.5


def test_code_colours__of_equal_codes_and_of_two_channels() -> None:
    assert np.isfinite(code_colours(torch.ones(3, 8))).all()
    assert code_colours(torch.rand(6, 2)).shape == (6, 3)


def test_draw_curves__draws_what_was_measured(tmp_path: Path) -> None:
    rows = [{"iteration": float(i), "aside_cosine": i / 10, "codes_used": 5.0 + i} for i in range(1, 4)]
    path = draw_curves(tmp_path / "curves.png", rows)
    with Image.open(path) as picture:
        assert picture.size[0] > 2 * picture.size[1]
