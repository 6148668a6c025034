import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from modelscope_beit.images import auto_augment as module
from modelscope_beit.images.auto_augment import apply_operation, auto_augment, color_jitter, rand_augment
from modelscope_beit.settings.augmentation_steps import ColorJitter
from modelscope_beit.settings.policies import INCREASING_POLICIES, read_auto_augment, read_rand_augment
from modelscope_beit.settings.policy_operations import OPERATIONS, Invert
from modelscope_beit.settings.step_values import read_step

PAD = {"pad_val": (10, 120, 250)}
EACH = [
    {"type": "AutoContrast"},
    {"type": "Equalize"},
    {"type": "Invert", "prob": 0.2},
    {"type": "Rotate", "angle": 25.0, **PAD},
    {"type": "Rotate", "angle": 12.0, "center": (3.0, 4.5), "scale": 0.8, "interpolation": "bicubic"},
    {"type": "Posterize", "bits": 2.1},
    {"type": "Solarize", "thr": 99.5},
    {"type": "SolarizeAdd", "magnitude": 70.3, "thr": 120},
    {"type": "ColorTransform", "magnitude": 0.7},
    {"type": "Contrast", "magnitude": 0.7, "random_negative_prob": 1.0},
    {"type": "Brightness", "magnitude": 0.33, "random_negative_prob": 0.0},
    {"type": "Sharpness", "magnitude": 0.9},
    {"type": "Shear", "magnitude": 0.3, **PAD},
    {"type": "Shear", "magnitude": 0.2, "direction": "vertical", "interpolation": "bilinear"},
    {"type": "Translate", "magnitude": 0.35, **PAD},
    {"type": "Translate", "magnitude": 0.1, "direction": "vertical", "interpolation": "lanczos"},
    {"type": "Cutout", "shape": 9, **PAD},
]
RAND = {
    "swin": {"magnitude_level": 9, "magnitude_std": 0.5, "total_level": 10, "num_policies": 2},
    "swin hparams": {
        "magnitude_level": 9,
        "magnitude_std": 0.5,
        "total_level": 10,
        "num_policies": 2,
        "hparams": {"pad_val": [104, 116, 124], "interpolation": "bicubic"},
    },
    "exact level": {"magnitude_level": 7, "num_policies": 3},
    "any level": {"magnitude_level": 30, "magnitude_std": "inf", "num_policies": 1, "hparams": {}},
}
IMAGENET_POLICY = [
    [{"type": "Posterize", "bits": 4, "prob": 0.4}, {"type": "Rotate", "angle": 30.0, "prob": 0.6}],
    [{"type": "Solarize", "thr": 256 / 9 * 4, "prob": 0.6}, {"type": "AutoContrast", "prob": 0.6}],
    [{"type": "Shear", "magnitude": 0.3 / 9 * 5, "prob": 0.6}, {"type": "Equalize", "prob": 1.0}],
]


def pixels_of(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed + 1000)
    return rng.integers(0, 256, (*rng.integers(5, 60, 2), 3), np.uint8)


def assert_equal_to_mmcls(by_mmcls, function, step, mapping: dict, seeds: int) -> None:
    for seed in range(seeds):
        pixels = pixels_of(seed)
        before = pixels.copy()
        ours = function(pixels, step, np.random.default_rng(seed))
        theirs = by_mmcls([mapping], Image.fromarray(pixels), np.random.default_rng(seed))
        assert_array_equal(ours, theirs[:, :, ::-1])
        assert_array_equal(pixels, before)


@pytest.mark.openmmlab
@pytest.mark.parametrize("mapping", EACH, ids=lambda mapping: mapping["type"])
def test_apply_operation__equals_mmcls(by_mmcls, mapping):
    operation = read_step(mapping, {kind.__name__: kind for kind in OPERATIONS}, "training")
    assert_equal_to_mmcls(by_mmcls, apply_operation, operation, mapping, 25)


@pytest.mark.openmmlab
@pytest.mark.parametrize("options", RAND.values(), ids=RAND.keys())
def test_rand_augment__equals_mmcls(by_mmcls, options):
    step = read_rand_augment({"type": "RandAugment", **options})
    mapping = {"type": "RandAugment", "policies": list(INCREASING_POLICIES), **options}
    if not options.get("hparams", True):
        mapping["hparams"] = {}
    assert_equal_to_mmcls(by_mmcls, rand_augment, step, mapping, 60)


@pytest.mark.openmmlab
def test_auto_augment__equals_mmcls(by_mmcls):
    mapping = {"type": "AutoAugment", "policies": IMAGENET_POLICY}
    assert_equal_to_mmcls(by_mmcls, auto_augment, read_auto_augment(mapping), mapping, 60)


@pytest.mark.openmmlab
def test_color_jitter__equals_mmcls(by_mmcls):
    mapping = {"type": "ColorJitter", "brightness": 0.4, "contrast": 0.3, "saturation": 0.9}
    assert_equal_to_mmcls(by_mmcls, color_jitter, ColorJitter(0.4, 0.3, 0.9), mapping, 40)


def test_functions__one_for_each_operation():
    assert set(module._FUNCTIONS) == set(OPERATIONS)


@pytest.mark.parametrize(("prob", "expected"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_apply_operation__probability(prob, expected):
    pixels = pixels_of(0)
    changed = [
        (apply_operation(pixels, Invert(prob=prob), np.random.default_rng(seed)) != pixels).any()
        for seed in range(1000)
    ]
    assert abs(np.mean(changed) - expected) < 0.05


def test_rand_augment__levels_follow_their_distribution(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "apply_operation", lambda pixels, operation, rng: seen.append(operation.magnitude))
    policy = {"type": "Brightness", "magnitude_key": "magnitude", "magnitude_range": [0.1, 0.9]}
    for options, mean, std in (
        ({"magnitude_level": 5, "magnitude_std": 0.5}, 0.5, 0.04),
        ({"magnitude_level": 10, "magnitude_std": "inf"}, 0.5, 0.8 / 12**0.5),
        ({"magnitude_level": 5, "magnitude_std": -1}, 0.5, 0.0),
    ):
        step = read_rand_augment(
            {"type": "RandAugment", "policies": [policy], "num_policies": 1, **options, "total_level": 10}
        )
        seen.clear()
        for seed in range(3000):
            rand_augment(pixels_of(0), step, np.random.default_rng(seed))
        assert abs(np.mean(seen) - mean) < 0.01
        assert abs(np.std(seen) - std) < 0.01
        assert 0.1 <= min(seen) <= max(seen) <= 0.9
