import dataclasses

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.augmentation_steps import (
    ColorJitter,
    Lighting,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
)

EIGVAL = (55.4625, 4.794, 1.1475)
EIGVEC = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@pytest.mark.openmmlab
def test_defaults__are_those_of_mmcls():
    mmcls = pytest.importorskip("mmcls.datasets.pipelines", reason="the oracle, mmcls, comes with the extra openmmlab")
    for ours, theirs in (
        (RandomResizedCrop(7), mmcls.RandomResizedCrop(7)),
        (RandomCrop(7), mmcls.RandomCrop(7)),
        (RandomFlip(), mmcls.RandomFlip()),
        (RandomGrayscale(), mmcls.RandomGrayscale()),
        (RandomErasing(), mmcls.RandomErasing()),
        (Lighting(EIGVAL, EIGVEC), mmcls.Lighting(list(EIGVAL), list(map(list, EIGVEC)))),
    ):
        names = {entry.name for entry in dataclasses.fields(ours)} - {"extra", "size", "eigval", "eigvec"}
        assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (RandomResizedCrop, {"size": 0}, "size is 0"),
        (RandomResizedCrop, {"size": 7, "scale": (1.0, 0.08)}, "scale is (1.0, 0.08), but [smallest, largest]"),
        (RandomResizedCrop, {"size": 7, "ratio": (0, 1)}, "ratio is (0, 1)"),
        (RandomResizedCrop, {"size": 7, "max_attempts": -1}, "max_attempts is -1"),
        (RandomResizedCrop, {"size": (7, 7), "efficientnet_style": True}, "efficientnet_style expects one number"),
        (RandomResizedCrop, {"size": 7, "interpolation": "hamming"}, "interpolation (backend cv2) is 'hamming'"),
        (RandomResizedCrop, {"size": 7, "backend": "PIL"}, "backend is 'PIL'"),
        (RandomCrop, {"size": (7,)}, "size is (7,)"),
        (RandomCrop, {"size": 7, "padding": (1, 2, 3)}, "1, 2 or 4 whole numbers"),
        (RandomCrop, {"size": 7, "padding": -1}, "padding is -1"),
        (RandomCrop, {"size": 7, "padding_mode": "mirror"}, "padding_mode is 'mirror'"),
        (RandomCrop, {"size": 7, "pad_val": (1, 2)}, "pad_val is (1, 2)"),
        (RandomFlip, {"flip_prob": 50}, "flip_prob is 50, but a number from 0 to 1 is expected"),
        (RandomFlip, {"direction": "up"}, "direction is 'up', but one of horizontal, vertical, diagonal"),
        (RandomGrayscale, {"gray_prob": None}, "gray_prob is None"),
        (ColorJitter, {"brightness": -1, "contrast": 0.4, "saturation": (0, 1)}, "brightness is -1"),
        (Lighting, {"eigval": 3.0, "eigvec": EIGVEC}, "eigval is 3.0, but a list of numbers is expected"),
        (Lighting, {"eigval": EIGVAL[:2], "eigvec": EIGVEC}, "each as long as eigval (2)"),
        (Lighting, {"eigval": EIGVAL, "eigvec": EIGVEC, "alphastd": -1}, "alphastd is -1"),
        (RandomErasing, {"erase_prob": -0.5}, "erase_prob is -0.5"),
        (RandomErasing, {"min_area_ratio": 0.5, "max_area_ratio": 0.4}, "min_area_ratio 0.5 is above max_area_ratio"),
        (RandomErasing, {"aspect_range": 0}, "aspect_range is (0, 0)"),
        (RandomErasing, {"mode": "pixel"}, "mode is 'pixel', but one of const, rand is expected"),
        (RandomErasing, {"fill_color": 256}, "fill_color is 256"),
        (RandomErasing, {"fill_std": (1, 2)}, "fill_std is (1, 2)"),
    ],
)
def test_steps__values_that_cannot_be_used(kind, values, expected):
    with pytest.raises(SettingsError) as caught:
        kind(**values)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(kind.__name__)


def test_steps__all_problems_at_once():
    with pytest.raises(SettingsError) as caught:
        RandomErasing(erase_prob=2, mode="pixel", fill_std=-1)
    assert all(name in str(caught.value) for name in ("erase_prob", "mode", "fill_std"))


def test_steps__which_may_follow_normalize():
    assert all(step.may_follow_normalize() for step in (RandomCrop(7), RandomFlip(), RandomErasing()))
    assert not any(step.may_follow_normalize() for step in (RandomResizedCrop(7), RandomGrayscale()))
