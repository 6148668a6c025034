"""The picture of the confusion matrix: its pixels say what the numbers say."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelscope_beit.publishing.confusion_picture import draw_confusion


def blue_share(path: Path) -> float:
    """Returns how much of the picture has the darkest colour of the scale."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return float((np.abs(pixels - [8, 48, 107]).max(axis=2) < 12).mean())


def test_draw_confusion__is_dark_where_all_pictures_of_a_class_go(tmp_path: Path) -> None:
    names = ["cat", "$dog$", "a class with a name that is far too long to be written in full"]
    draw_confusion(tmp_path / "right.png", [(0, 0, 9), (1, 1, 1), (2, 2, 4)], names)
    draw_confusion(tmp_path / "half.png", [(0, 0, 5), (0, 1, 5), (1, 1, 1), (1, 0, 1)], names)
    # Three of nine cells are full in the one; none in the other, whose third class has no picture.
    assert blue_share(tmp_path / "right.png") > 3 * blue_share(tmp_path / "half.png")


@pytest.mark.parametrize("number", [1, 45, 300])
def test_draw_confusion__of_any_number_of_classes(tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.png"
    draw_confusion(path, [(place, place, 2) for place in range(number)], [f"class {place}" for place in range(number)])
    assert max(Image.open(path).size) < 2000


def test_draw_confusion__writes_names_in_every_script_without_complaint(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of letters that a font lacks.
        draw_confusion(tmp_path / "x.png", [(0, 0, 1)], ["中文", "ё"])
    assert "Software" not in Image.open(tmp_path / "x.png").info
