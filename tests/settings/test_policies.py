import ast
import importlib.util
from pathlib import Path

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.policies import (
    INCREASING_POLICIES,
    LevelledPolicy,
    RandAugment,
    read_auto_augment,
    read_rand_augment,
)
from modelscope_beit.settings.policy_operations import Cutout, Equalize, Invert, Posterize, Rotate, Shear

BASIC = {"type": "RandAugment", "num_policies": 2, "magnitude_level": 9}


def problem_of(read, mapping: dict) -> str:
    with pytest.raises(SettingsError) as caught:
        read(mapping)
    return str(caught.value)


@pytest.mark.openmmlab
def test_increasing_policies__are_those_of_mmcls():
    specification = importlib.util.find_spec("mmcls")
    if specification is None:
        pytest.skip("the oracle, mmcls, comes with the extra openmmlab")
    path = Path(specification.origin).parent / ".mim/configs/_base_/datasets/pipelines/rand_aug.py"
    values: dict = {}
    exec(compile(ast.parse(path.read_text()), str(path), "exec"), values)
    assert list(INCREASING_POLICIES) == values["rand_increasing_policies"]


@pytest.mark.parametrize("policies", [{}, {"policies": None}, {"policies": "timm_increasing"}], ids=str)
def test_read_rand_augment__policies_may_be_absent(policies):
    step = read_rand_augment({**BASIC, **policies})
    assert len(step.policies) == 15
    assert step.policies[4] == LevelledPolicy(Posterize(4.0), "bits", (4.0, 0.0))
    assert (step.num_policies, step.magnitude_level, step.magnitude_std, step.total_level) == (2, 9, 0.0, 30)


def test_read_rand_augment__hparams_fill_what_a_policy_leaves_open():
    policies = [
        {"type": "Rotate", "magnitude_key": "angle", "magnitude_range": [0, 30], "interpolation": "nearest"},
        {"type": "Cutout", "shape": 4},
        {"type": "Invert"},
    ]
    hparams = {"pad_val": [104, 116, 124], "interpolation": "bicubic"}
    step = read_rand_augment({**BASIC, "policies": policies, "hparams": hparams})
    assert step.policies == (
        LevelledPolicy(Rotate(0.0, pad_val=(104, 116, 124)), "angle", (0.0, 30.0)),
        LevelledPolicy(Cutout(4, (104, 116, 124))),
        LevelledPolicy(Invert()),
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_policies": 0}, "num_policies is 0, but a whole number from 1 on is expected"),
        ({"magnitude_level": -1}, "magnitude_level is -1"),
        ({"magnitude_std": "infinite"}, "magnitude_std is 'infinite', but a number or 'inf' is expected"),
        ({"total_level": 0}, "total_level is 0, but a number above 0 is expected"),
        ({"magnitude": 9}, "nobody knows the key 'magnitude'; did you mean magnitude_std?"),
        ({"policies": []}, "policies is [], but a list that is not empty is expected"),
        ({"policies": "{{_base_.policies}}"}, "but a list that is not empty is expected"),
        ({"policies": [{"type": "Sheer"}]}, "policies[0] is of type 'Sheer', which is no step of RandAugment; did"),
        ({"policies": ["Shear"]}, "policies[0] is 'Shear', but a mapping"),
        ({"policies": [{"type": "Shear"}]}, "policies[0] Shear: magnitude is missing"),
        (
            {"policies": [{"type": "Shear", "magnitude_key": "magnitude"}]},
            "policies[0] magnitude_range is None, but [at level 0, at the highest level] is expected",
        ),
        (
            {"policies": [{"type": "Invert", "magnitude_key": "angle", "magnitude_range": [0, 1]}]},
            "policies[0] Invert: nobody knows the key 'angle'",
        ),
        (
            {"policies": [{"type": "Posterize", "magnitude_key": "bits", "magnitude_range": [4, 9]}]},
            "policies[0] Posterize: bits is 9.0",
        ),
        ({"policies": [{"type": "Shear", "magnitude_key": 1, "magnitude_range": [0, 1]}]}, "magnitude_key is 1"),
        ({"hparams": 128}, "hparams is 128, but a mapping such as"),
        ({"hparams": {"padval": 128}}, "hparams: no policy has 'padval'; did you mean pad_val?"),
    ],
    ids=str,
)
def test_read_rand_augment__what_is_wrong(changes, expected):
    assert expected in problem_of(read_rand_augment, {**BASIC, **changes})


def test_read_rand_augment__all_problems_at_once():
    mapping = {"type": "RandAugment", "policies": [{"type": "Sheer"}, {"type": "Invert", "prob": 2}], "hparams": 1}
    problem = problem_of(read_rand_augment, mapping)
    for part in ("policies[0]", "policies[1]", "hparams", "num_policies is missing", "magnitude_level is missing"):
        assert part in problem


def test_rand_augment__can_be_made_directly():
    with pytest.raises(SettingsError, match="total_level is -1"):
        RandAugment((LevelledPolicy(Invert()),), 1, 9, total_level=-1)


def test_read_auto_augment__rows_of_operations():
    policies = [[{"type": "Shear", "magnitude": 0.2, "prob": 0.6}, {"type": "Equalize", "prob": 1.0}]]
    step = read_auto_augment({"type": "AutoAugment", "policies": policies, "hparams": {"pad_val": 7}})
    assert step.policies == ((Shear(0.2, prob=0.6, pad_val=7), Equalize(prob=1.0)),)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, "AutoAugment: policies is None, but a list that is not empty is expected"),
        ({"policies": [{"type": "Invert"}]}, "policies[0] is {'type': 'Invert'}, but a list"),
        ({"policies": [[]]}, "policies[0] is [], but a list"),
        ({"policies": [[{"type": "Invert"}, {"type": "Shear"}]]}, "policies[0][1] Shear: magnitude is missing"),
        ({"policies": [[{"type": "Invert"}]], "prob": 1}, "nobody knows the key 'prob'"),
    ],
    ids=str,
)
def test_read_auto_augment__what_is_wrong(mapping, expected):
    assert expected in problem_of(read_auto_augment, {"type": "AutoAugment", **mapping})
