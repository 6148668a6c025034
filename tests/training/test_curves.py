"""The picture of the curves: opened with Pillow, its size and its colours looked at."""

import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from modelscope_beit.errors import CheckpointError
from modelscope_beit.training.curves import draw_curves
from modelscope_beit.training.log_lines import Point

POINTS = [Point(50 * n, 2.3 * math.exp(-n / 30), 5e-5 * (1 - n / 100)) for n in range(1, 100)]
ROWS = [
    {"epoch": n, "iteration": 500 * n, "accuracy_top-1": 10.0 * n, "accuracy_top-5": 50 + 5.0 * n, "is_best": n == 7}
    for n in range(1, 10)
]
BLUE, RED, PURPLE = (0x1F, 0x5F, 0xA8), (0xB3, 0x20, 0x2C), (0x8E, 0x24, 0xAA)


def pixels_of(path, color: tuple[int, int, int]) -> np.ndarray:
    """Returns (row, column) of every pixel of about this colour: the edges of lines are paler."""
    return np.argwhere((np.abs(np.asarray(Image.open(path).convert("RGB"), int) - color) < 50).all(axis=2))


def test_draw_curves__1200_pixels_wide(tmp_path):
    path = tmp_path / "curves.png"
    draw_curves(path, POINTS, ROWS, title="Run $x_1$ %s {}")
    picture = Image.open(path)
    picture.load()
    assert (picture.format, picture.size) == ("PNG", (1200, 900))
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_draw_curves__falls_where_the_loss_falls(tmp_path):
    draw_curves(tmp_path / "curves.png", POINTS, ROWS, title="")
    curve = pixels_of(tmp_path / "curves.png", BLUE)
    curve = curve[(curve[:, 0] < 450) & (curve[:, 1] < 900)]  # Without the legend.
    height = {column: curve[curve[:, 1] == column, 0].mean() for column in np.unique(curve[:, 1])}
    columns = sorted(height)
    assert columns[-1] - columns[0] > 600
    assert all(height[a] <= height[b] + 2 for a, b in zip(columns, columns[30:], strict=False))


def test_draw_curves__marks_the_best(tmp_path):
    draw_curves(tmp_path / "with.png", POINTS, ROWS, title="")
    draw_curves(tmp_path / "without.png", POINTS, [row | {"is_best": False} for row in ROWS], title="")
    marks = pixels_of(tmp_path / "with.png", RED)
    assert len(pixels_of(tmp_path / "without.png", RED)) == 0
    stars = marks[(marks[:, 0] > 470) & (marks[:, 0] < 760)]  # Above the legend.
    # Epoch 7 of 1 to 9, on an axis from about column 60 to 1150 with margins of a twentieth.
    assert len(stars) > 100
    assert np.median(stars[:, 1]) == pytest.approx(60 + 1090 * (0.05 + 0.9 * 6 / 8), abs=40)


def test_draw_curves__marks_where_the_run_stopped_early(tmp_path):
    draw_curves(tmp_path / "curves.png", POINTS, [*ROWS[:-1], ROWS[-1] | {"stopped_early": True}], title="")
    line = pixels_of(tmp_path / "curves.png", PURPLE)
    assert np.ptp(line[:, 0]) > 300, "from top to bottom of the lower panel"
    assert np.median(line[:, 1]) > 1000, "at the last of the validations"
    draw_curves(tmp_path / "without.png", POINTS, ROWS, title="")
    assert len(pixels_of(tmp_path / "without.png", PURPLE)) == 0


@pytest.mark.parametrize(
    ("points", "rows", "height"),
    [
        ([], [], 450),
        ([], ROWS[:1], 900),
        (POINTS[:1], [{"epoch": 1, "iteration": 50, "train_loss": 1.0}], 450),
        ([Point(1, math.nan, 0.0), Point(2, math.inf, 1.0)], [ROWS[0] | {"accuracy_top-1": math.nan}], 900),
        (POINTS, [ROWS[0] | {"precision": [1.0, 2.0], "support": 500.0, "validation_loss": 0.5}], 900),
        (POINTS, [{"epoch": 1, "iteration": 5, "validation_loss": 0.5, "is_best": False}], 450),
        (POINTS, [ROWS[0], {"epoch": 2, "iteration": 99, "f1_score": 3.0, "is_best": True}], 900),
    ],
)
def test_draw_curves__whatever_there_is(tmp_path, points, rows, height):
    draw_curves(tmp_path / "curves.png", points, rows, title="a")
    assert Image.open(tmp_path / "curves.png").size == (1200, height)


def test_draw_curves__a_long_run_takes_no_longer(tmp_path):
    draw_curves(tmp_path / "curves.png", POINTS, ROWS, title="")
    many = [Point(n, 1 / n, 1.0) for n in range(1, 100_001)]
    start = time.process_time()
    draw_curves(tmp_path / "curves.png", many, ROWS, title="")
    assert time.process_time() - start < 1.5


def test_draw_curves__of_many_points_it_draws_means(tmp_path):
    noisy = [Point(n, 2.0 * (n % 2), 1.0) for n in range(1, 50_001)]
    draw_curves(tmp_path / "curves.png", noisy, [], title="")
    curve = pixels_of(tmp_path / "curves.png", BLUE)
    curve = curve[curve[:, 1] < 900]  # Without the legend.
    assert np.ptp(curve[:, 0]) <= 3, "the mean of 0 and 2 is a flat line"


def test_draw_curves__the_old_picture_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    draw_curves(path, POINTS, ROWS, title="")
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointError, match=r"curves\.png"):
        draw_curves(path, POINTS[:5], ROWS, title="")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_import__brings_no_matplotlib():
    program = "import sys, modelscope_beit.training.run_log; print('matplotlib' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"


def test_draw_curves__uses_no_pyplot(tmp_path):
    program = (
        "import sys; from pathlib import Path; from modelscope_beit.training.curves import draw_curves\n"
        f"draw_curves(Path({str(tmp_path / 'curves.png')!r}), [], [], title='')\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"
