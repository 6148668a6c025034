import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from draws_like_ours import drawing_like_ours
from modelscope_beit.images.mixing import mix
from modelscope_beit.settings.mixing import (
    BatchCutMix,
    BatchMixup,
    BatchResizeMix,
    OneOfMixings,
    TimmMixup,
    read_mixing,
)
from modelscope_beit.settings.problems import Problems

CLASSES = 7


def batch_of(count: int, height: int = 20, width: int = 33, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, height, width, generator=generator)
    return images, torch.randint(CLASSES, (count,), generator=generator)


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES).float()


def settings_of(augments: object):
    problems = Problems()
    settings = read_mixing(augments, "augments", problems)
    assert not problems.wrong
    return settings


MMCLS = {
    "mixup": {"type": "BatchMixup", "alpha": 0.8, "num_classes": CLASSES, "prob": 1.0},
    "cutmix": {"type": "BatchCutMix", "alpha": 1.0, "num_classes": CLASSES, "prob": 1.0},
    "cutmix uncorrected": {"type": "BatchCutMix", "alpha": 1.0, "num_classes": CLASSES, "correct_lam": False},
    "cutmix minmax": {"type": "BatchCutMix", "alpha": 1.0, "num_classes": CLASSES, "cutmix_minmax": [0.2, 0.8]},
    "resizemix": {"type": "BatchResizeMix", "alpha": 1.0, "num_classes": CLASSES, "interpolation": "bicubic"},
    "one of": [
        {"type": "BatchMixup", "alpha": 0.8, "num_classes": CLASSES, "prob": 0.4},
        {"type": "BatchCutMix", "alpha": 1.0, "num_classes": CLASSES, "prob": 0.3},
    ],
}


@pytest.mark.parametrize("augments", MMCLS.values(), ids=MMCLS.keys())
@pytest.mark.openmmlab
def test_mix__equals_mmcls(augments):
    theirs = pytest.importorskip("mmcls.models.utils.augment", reason="the oracle comes with the extra openmmlab")
    mixer = theirs.Augments(augments)
    settings = settings_of(augments)
    for seed in range(40):
        images, labels = batch_of(5, seed=seed)
        mixed, targets = mix(images, one_hot(labels), settings, np.random.default_rng(seed))
        with drawing_like_ours(np.random.default_rng(seed)):
            expected, expected_targets = mixer(images.clone(), labels)
        assert torch.equal(mixed, expected)
        assert torch.equal(targets, expected_targets)


TIMM = {
    "both": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "prob": 0.9, "switch_prob": 0.5},
    "mixup": {"mixup_alpha": 0.8},
    "cutmix": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0, "correct_lam": False},
    "minmax": {"mixup_alpha": 0.0, "cutmix_minmax": (0.2, 0.8)},
    "both minmax": {"mixup_alpha": 0.3, "cutmix_minmax": (0.3, 1.0), "label_smoothing": 0.0},
}


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("options", TIMM.values(), ids=TIMM.keys())
def test_mix__equals_timm(options, mode):
    theirs = pytest.importorskip("timm.data.mixup", reason="the oracle comes with the extra timm")
    mixer = theirs.Mixup(**options, mode=mode, num_classes=CLASSES)
    settings = settings_of({"type": "TimmMixup", **options, "mode": mode})
    for seed in range(30):
        images, labels = batch_of(6, seed=seed)
        mixed, targets = mix(images, one_hot(labels), settings, np.random.default_rng(seed))
        with drawing_like_ours(np.random.default_rng(seed)):
            expected, expected_targets = mixer(images.clone(), labels)
        assert torch.equal(mixed, expected)
        # Smoothing a one-hot row and writing the smoothed values differ in the last bit.
        assert_allclose(targets, expected_targets, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        OneOfMixings((BatchMixup(0.8, prob=0.5), BatchCutMix(1.0, prob=0.5))),
        OneOfMixings((BatchResizeMix(1.0),)),
        TimmMixup(0.8, 1.0),
        TimmMixup(0.8, 1.0, mode="pair"),
        TimmMixup(0.8, 1.0, mode="elem"),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 5, 6])
def test_mix__rows_sum_to_one_and_what_is_given_stays(settings, count):
    images, labels = batch_of(count)
    before, targets = images.clone(), one_hot(labels)
    for seed in range(10):
        mixed, mixed_targets = mix(images, targets, settings, np.random.default_rng(seed))
        assert mixed.shape == images.shape
        assert_allclose(mixed_targets.sum(dim=1), 1, atol=1e-5)
    assert torch.equal(images, before)
    assert torch.equal(targets, one_hot(labels))


def test_mix__pair_mode_leaves_the_middle_of_an_odd_batch_alone():
    images, labels = batch_of(5)
    settings = TimmMixup(mode="pair", label_smoothing=0.0)
    mixed, targets = mix(images, one_hot(labels), settings, np.random.default_rng(0))
    assert torch.equal(mixed[2], images[2])
    assert torch.equal(targets[2], one_hot(labels)[2])
    assert not torch.equal(mixed[1], images[1])


def test_mix__the_label_follows_the_pixels():
    # A white picture of class 1 in black ones of class 0: the mean of the pixels is the share of the label.
    images = torch.zeros(8, 3, 16, 16)
    images[3] = 1
    targets = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1, 0, 0, 0, 0]), 2).float()
    choices = (BatchMixup(1.0), BatchCutMix(1.0), BatchResizeMix(1.0))
    for settings in [*(OneOfMixings((choice,)) for choice in choices), TimmMixup(1.0, 1.0, label_smoothing=0.0)]:
        for seed in range(20):
            mixed, mixed_targets = mix(images, targets, settings, np.random.default_rng(seed))
            assert_allclose(mixed.mean(dim=(1, 2, 3)), mixed_targets[:, 1], atol=1e-5)


def test_mix__choices_are_drawn_with_their_probabilities():
    # What is mixed is told by the picture: CutMix keeps 0 and 1 apart, MixUp does not, and no mixing changes nothing.
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    targets = torch.eye(2)
    settings = OneOfMixings((BatchMixup(1.0, prob=0.25), BatchCutMix(1.0, prob=0.25)))
    counts = {"blended": 0, "same": 0}
    for seed in range(2000):
        mixed, _ = mix(images, targets, settings, np.random.default_rng(seed))
        counts["blended"] += int(((mixed > 0) & (mixed < 1)).any())
        counts["same"] += int(torch.equal(mixed, images))
    # Half of the MixUps pair each picture with itself.
    assert abs(counts["blended"] / 2000 - 0.125) < 0.03
    assert counts["same"] / 2000 > 0.5


def test_mix__same_generator_state_same_result():
    images, labels = batch_of(4)
    settings = TimmMixup(0.8, 1.0)
    first = mix(images, one_hot(labels), settings, np.random.default_rng([1, 2, 3]))
    again = mix(images, one_hot(labels), settings, np.random.default_rng([1, 2, 3]))
    other = mix(images, one_hot(labels), settings, np.random.default_rng([1, 2, 4]))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
