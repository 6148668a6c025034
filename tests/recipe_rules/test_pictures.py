"""Small pictures, mirrors, and what is taken over from the steps of evaluation."""

import pytest

from modelscope_beit.recipe_rules.pictures import (
    are_small,
    around,
    evaluation_around,
    flip_steps,
    normalisation,
    resampling,
)
from modelscope_beit.settings.preprocessing import read_steps
from modelscope_beit.settings.problems import Problems
from modelscope_beit.settings.training_steps import read_training_steps

NORMALIZE = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
VAL = [
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "size": [256, -1], "backend": "pillow", "interpolation": "bicubic"},
    {"type": "CenterCrop", "crop_size": 224},
    NORMALIZE,
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"]},
]


@pytest.mark.parametrize(
    ("size", "small"), [((32, 32), True), ((95, 97), True), ((96, 96), False), ((40, 240), False), (None, False)]
)
def test_are_small__by_area_as_bit_hyperrule(size: tuple[int, int] | None, small: bool) -> None:
    assert are_small(size) is small


def test_around__gives_lists_that_are_read() -> None:
    flips, _ = flip_steps(False)
    problems = Problems()
    steps = around([{"type": "RandomCrop", "size": 8}, *flips], VAL)
    assert len(read_training_steps(steps, "x", problems)) == len(steps) and not problems.wrong
    assert NORMALIZE in steps
    fixed = evaluation_around([{"type": "Resize", "size": [8, 8]}], VAL)
    assert len(read_steps(fixed, "x")) == len(fixed) == 5


def test_flip_steps__not_for_signs() -> None:
    assert flip_steps(True)[0] == []
    assert "remove RandomFlip" in flip_steps(False)[1]


def test_resampling__as_evaluation_does() -> None:
    assert resampling(VAL) == {"backend": "pillow", "interpolation": "bicubic"}
    assert resampling([{"type": "Resize", "size": 8}]) == {"backend": "cv2", "interpolation": "bilinear"}, "mmcls's"
    assert resampling([]) == {"backend": "pillow", "interpolation": "bicubic"}


def test_normalisation__blue_first() -> None:
    assert normalisation(VAL) == ([103.53, 116.28, 123.675], [57.375, 57.12, 58.395])
    assert normalisation([NORMALIZE | {"to_rgb": False}])[0] == NORMALIZE["mean"]
    assert normalisation([]) == ([127.5] * 3, [127.5] * 3)
