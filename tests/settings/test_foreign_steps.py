"""Lists of steps that mmcls makes, told from native ones and from mistakes."""

from typing import Any

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.foreign_steps import (
    ForeignSteps,
    picture_size,
    read_augmentation,
    read_preprocessing,
    write_preprocessing,
)
from modelscope_beit.settings.problems import Problems

END: list[dict[str, Any]] = [
    {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6], "to_rgb": True},
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"]},
]
RESIZE = {"type": "Resize", "size": (32, 32)}


@pytest.mark.parametrize("kind", ["Albu", "ToPIL", "Compose", "Transpose", "MyOwnStep"])
def test_read__what_only_mmcls_or_its_users_have(kind: str) -> None:
    steps = [RESIZE, {"type": kind, "anything": (1, {"b": (2,)})}, *END]
    found = read_preprocessing(steps, "preprocessor.val")
    assert isinstance(found, ForeignSteps)
    assert found.reasons == (f"preprocessor.val[1] is of type '{kind}', which is not among the native steps",)
    assert found.steps[1] == {"type": kind, "anything": [1, {"b": [2]}]}
    assert write_preprocessing(found) == [{"type": "Resize", "size": [32, 32]}, found.steps[1], *END]
    assert read_preprocessing(write_preprocessing(found), "preprocessor.val") == found
    problems = Problems()
    assert isinstance(read_augmentation(steps, "preprocessor.train", problems), ForeignSteps)
    assert problems == Problems()


def test_read__native_lists_stay_native() -> None:
    steps = [RESIZE, *END]
    assert not isinstance(read_preprocessing(steps, "here"), ForeignSteps)
    assert not isinstance(read_augmentation(steps, "here", Problems()), ForeignSteps)
    native = read_preprocessing(steps, "here")
    assert read_preprocessing(write_preprocessing(native), "here") == native


@pytest.mark.parametrize("kind", ["Resise", "CentreCrop", "RandomResizeCrop"])
def test_read__a_slip_of_the_pen_is_not_left_to_mmcls(kind: str) -> None:
    with pytest.raises(SettingsError, match=kind):
        read_preprocessing([{"type": kind, "size": 3}, *END], "here")


def test_read__a_list_that_is_wrong_anyway_is_not_left_to_mmcls() -> None:
    with pytest.raises(SettingsError):
        read_preprocessing([{"type": "ToPIL"}, {"size": 3}], "here")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], (224, 224)),
        ([{"type": "Resize", "size": [256, -1]}, {"type": "CenterCrop", "crop_size": 192}], (192, 192)),
        ([{"type": "Resize", "size": (48, 64)}, {"type": "Albu"}], (48, 64)),
        ([{"type": "Resize", "size": [256, -1]}], (224, 224)),
    ],
)
def test_picture_size__what_the_steps_make(steps: list[dict[str, Any]], expected: tuple[int, int]) -> None:
    assert picture_size(None, steps) == expected
    assert picture_size((96, 128), steps) == (96, 128)
