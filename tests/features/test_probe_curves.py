"""The picture: its size, and that what it shows decides its pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelscope_beit.errors import CheckpointError
from modelscope_beit.evaluation.confidence import Interval
from modelscope_beit.features.few_shots import FewShots
from modelscope_beit.features.probe_curves import HEIGHT_PIXELS, WIDTH_PIXELS, draw_probe_curves
from modelscope_beit.features.probing import Probe, Trial

FOUND = Probe(
    num_train=100,
    num_validation=50,
    num_classes=3,
    neighbours={1: Interval(0.5, 0.4, 0.6)},
    linear=Interval(0.9, 0.8, 0.95),
    strength=0.1,
    trials=[Trial(0.01, 0.7, 1.0, True), Trial(0.1, 0.8, 0.9, True)],
    shots=[FewShots(1, (0.3, 0.5), (0.2, 0.4)), FewShots(2, (0.5, 0.7), (0.4, 0.5))],
)


def drawn(path: Path, found: Probe) -> np.ndarray:
    draw_probe_curves(path, found, title="beit on $photos")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_draw_probe_curves__shows_both_panels(tmp_path: Path) -> None:
    picture = drawn(tmp_path / "a.png", FOUND)
    assert picture.shape == (HEIGHT_PIXELS, WIDTH_PIXELS, 3)
    other = drawn(tmp_path / "b.png", replace(FOUND, shots=[FOUND.shots[0], FewShots(2, (0.9, 0.95), (0.4, 0.5))]))
    differs = (picture != other).any(axis=(0, 2))
    assert differs[: WIDTH_PIXELS // 2].any() and not differs[WIDTH_PIXELS // 2 + 60 :].any()
    other = drawn(tmp_path / "c.png", replace(FOUND, strength=0.01))
    differs = (picture != other).any(axis=(0, 2))
    assert differs[WIDTH_PIXELS // 2 :].any() and not differs[: WIDTH_PIXELS // 2 - 60].any()


def test_draw_probe_curves__without_shots(tmp_path: Path) -> None:
    assert drawn(tmp_path / "a.png", replace(FOUND, shots=[])).std() > 0


def test_draw_probe_curves__into_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Could not write"):
        draw_probe_curves(tmp_path / "nowhere" / "a.png", FOUND, title="x")
