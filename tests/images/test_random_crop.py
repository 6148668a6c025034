import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.images.random_crop import efficientnet_box, random_crop, random_resized_crop, resized_crop_box
from modelscope_beit.settings.augmentation_steps import RandomCrop, RandomResizedCrop
from modelscope_beit.settings.step_values import read_step

SHAPES = [(1, 1), (1, 9), (200, 3), (37, 53), (64, 64), (90, 140)]
KINDS = {"RandomCrop": RandomCrop, "RandomResizedCrop": RandomResizedCrop}


def picture_of(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


RESIZED = {
    "default": {"size": 24},
    "pillow": {"size": (20, 31), "backend": "pillow", "interpolation": "bicubic"},
    "narrow": {"size": 24, "scale": (0.5, 0.6), "ratio": (0.9, 1.0), "max_attempts": 2, "interpolation": "nearest"},
    "no attempt": {"size": 24, "max_attempts": 0},
    "efficientnet": {"size": 24, "efficientnet_style": True, "backend": "pillow", "interpolation": "bicubic"},
    "efficientnet, hard": {"size": 24, "efficientnet_style": True, "min_covered": 0.9, "max_attempts": 3},
}


@pytest.mark.openmmlab
@pytest.mark.parametrize("options", RESIZED.values(), ids=RESIZED.keys())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random_resized_crop__equals_mmcls(by_mmcls, options, shape):
    mapping = {"type": "RandomResizedCrop", **options}
    step = read_step(mapping, KINDS, "training")
    if options.get("efficientnet_style") and min(shape) == 1:
        pytest.skip("mmcls cuts nothing out of so small a picture and fails")
    for seed in range(15):
        picture = picture_of(*shape, seed)
        ours = random_resized_crop(picture, step, np.random.default_rng(seed))
        theirs = by_mmcls([mapping], picture, np.random.default_rng(seed))
        assert_array_equal(np.asarray(ours), theirs[:, :, ::-1])


CROPS = {
    "cifar": {"size": 32, "padding": 4},
    "mirrored": {"size": (40, 50), "pad_if_needed": True, "padding_mode": "reflect"},
    "two": {"size": 20, "padding": (3, 5), "pad_val": (1, 2, 3), "padding_mode": "edge"},
    "four": {"size": 24, "padding": (1, 2, 3, 4), "pad_val": 7, "pad_if_needed": True},
}


@pytest.mark.openmmlab
@pytest.mark.parametrize("options", CROPS.values(), ids=CROPS.keys())
@pytest.mark.parametrize("shape", [(32, 32), (37, 53), (40, 50), (90, 140)], ids=str)
def test_random_crop__equals_mmcls(by_mmcls, options, shape):
    mapping = {"type": "RandomCrop", **options}
    step = read_step(mapping, KINDS, "training")
    for seed in range(10):
        picture = picture_of(*shape, seed)
        ours = random_crop(picture, step, np.random.default_rng(seed))
        theirs = by_mmcls([mapping], picture, np.random.default_rng(seed))
        assert_array_equal(ours, theirs[:, :, ::-1])


def test_random_crop__picture_that_is_too_small():
    with pytest.raises(ImageError, match="cannot cut 32x32 pixels out of a picture of 31x40"):
        random_crop(picture_of(40, 31), RandomCrop(32), np.random.default_rng(0))


def test_resized_crop_box__area_and_proportions_have_their_distribution():
    step = RandomResizedCrop(224, scale=(0.2, 0.5))
    rng = np.random.default_rng(0)
    boxes = np.array([resized_crop_box(1000, 1000, step, rng) for _ in range(4000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shares, logarithms = widths * heights / 1e6, np.log(widths / heights)
    # Both are uniform, so their means and deviations are known.
    assert abs(shares.mean() - 0.35) < 0.01
    assert abs(shares.std() - 0.3 / math.sqrt(12)) < 0.01
    assert abs(logarithms.mean()) < 0.02
    assert abs(logarithms.std() - 2 * math.log(4 / 3) / math.sqrt(12)) < 0.02
    assert boxes.min() >= 0
    assert boxes.max() <= 1000


@pytest.mark.parametrize(("width", "height", "expected"), [(400, 100, (133, 0, 266, 100)), (30, 90, (0, 25, 30, 65))])
def test_resized_crop_box__middle_where_no_box_fits(width, height, expected):
    step = RandomResizedCrop(224, max_attempts=0)
    assert resized_crop_box(width, height, step, np.random.default_rng(0)) == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)], ids=str)
def test_boxes__never_empty(shape):
    for style, draw in ((False, resized_crop_box), (True, efficientnet_box)):
        step = RandomResizedCrop(32, scale=(0.001, 1.0), min_covered=0.0, efficientnet_style=style)
        for seed in range(50):
            left, top, right, bottom = draw(*shape, step, np.random.default_rng(seed))
            assert 0 <= left < right <= shape[0]
            assert 0 <= top < bottom <= shape[1]
