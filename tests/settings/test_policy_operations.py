import dataclasses

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings import policy_operations
from modelscope_beit.settings.policy_operations import OPERATIONS, Cutout, Posterize, Rotate, Shear

REQUIRED = {"angle": 10.0, "bits": 4, "magnitude": 0.3, "shape": 8, "thr": 100}


def required_of(kind: type) -> dict[str, float]:
    missing = [entry.name for entry in dataclasses.fields(kind) if entry.default is dataclasses.MISSING]
    return {name: REQUIRED[name] for name in missing if name != "extra"}


@pytest.mark.openmmlab
@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
def test_defaults__are_those_of_mmcls(kind):
    mmcls = pytest.importorskip("mmcls.datasets.pipelines", reason="the oracle, mmcls, comes with the extra openmmlab")
    ours = vars(kind(**required_of(kind)))
    theirs = vars(getattr(mmcls, kind.__name__)(**required_of(kind)))
    # mmcls repeats one padding value for each channel.
    expected = {"extra": {}, **theirs, **({"pad_val": 128} if "pad_val" in theirs else {})}
    assert ours == expected


@pytest.mark.openmmlab
def test_operations__all_that_mmcls_has():
    module = pytest.importorskip("mmcls.datasets.pipelines.auto_augment", reason="the oracle comes with the extra")
    theirs = {
        name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
    }
    assert {kind.__name__ for kind in OPERATIONS} == theirs - {"AutoAugment", "RandAugment"}
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("Shear", {"magnitude": "much"}, "magnitude is 'much'"),
        ("Shear", {"magnitude": 0.1, "direction": "diagonal"}, "one of horizontal, vertical is expected"),
        ("Shear", {"magnitude": 0.1, "interpolation": "box"}, "interpolation is 'box'"),
        ("Translate", {"magnitude": 0.1, "pad_val": (1, 2)}, "pad_val is (1, 2)"),
        ("Rotate", {"angle": None}, "angle is None"),
        ("Rotate", {"angle": 1, "center": 3}, "center is 3, but [x, y] is expected"),
        ("Invert", {"prob": 1.5}, "prob is 1.5"),
        ("Contrast", {"magnitude": 0.1, "random_negative_prob": -1}, "random_negative_prob is -1"),
        ("Posterize", {"bits": 9}, "bits is 9, but a number from 0 to 8 is expected"),
        ("SolarizeAdd", {"magnitude": 1, "thr": ()}, "thr is ()"),
        ("Cutout", {"shape": (1, 2, 3)}, "shape is (1, 2, 3)"),
        ("Cutout", {"shape": 3, "pad_val": 1000}, "pad_val is 1000"),
    ],
)
def test_operations__values_that_cannot_be_used(kind, values, expected):
    with pytest.raises(SettingsError) as caught:
        getattr(policy_operations, kind)(**values)
    assert expected in str(caught.value)


def test_operations__values_that_json_brings():
    # JSON has no tuples and no difference between 30 and 30.0; the readers make tuples.
    assert Rotate(30).angle == 30
    assert Cutout((3, 4)).shape == (3, 4)
    assert Posterize(0).bits == 0
    assert Shear(1).interpolation == "bicubic"
