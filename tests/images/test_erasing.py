import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from modelscope_beit.images.erasing import cutout, erased_box, random_erasing
from modelscope_beit.settings.augmentation_steps import RandomErasing
from modelscope_beit.settings.policy_operations import Cutout
from modelscope_beit.settings.step_values import read_step

SHAPES = [(1, 1), (1, 30), (37, 53), (64, 64)]
ERASINGS = {
    "mean colour": {"erase_prob": 1.0, "fill_color": [103.53, 116.28, 123.675]},
    "one value": {"erase_prob": 0.8, "fill_color": 7, "min_area_ratio": 0.1, "max_area_ratio": 1.0},
    "bytes": {"erase_prob": 1.0, "mode": "rand", "aspect_range": 0.4},
    "swin": {
        "erase_prob": 0.5,
        "mode": "rand",
        "max_area_ratio": 1 / 3,
        "fill_color": [103.53, 116.28, 123.675],
        "fill_std": [57.375, 57.12, 58.395],
    },
}


def pixels_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.openmmlab
@pytest.mark.parametrize("options", ERASINGS.values(), ids=ERASINGS.keys())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random_erasing__equals_mmcls(by_mmcls, options, shape):
    mapping = {"type": "RandomErasing", **options}
    step = read_step(mapping, {"RandomErasing": RandomErasing}, "training")
    for seed in range(15):
        pixels = pixels_of(*shape, seed)
        ours = random_erasing(pixels, step, np.random.default_rng(seed))
        theirs = by_mmcls([mapping], Image.fromarray(pixels), np.random.default_rng(seed))
        assert_array_equal(ours, theirs[:, :, ::-1])


@pytest.mark.openmmlab
@pytest.mark.parametrize("options", [{"shape": 16}, {"shape": 7.9, "pad_val": (1, 2, 3)}, {"shape": (50, 5)}], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cutout__equals_mmcls(by_mmcls, options, shape):
    mapping = {"type": "Cutout", "prob": 1.0, **options}
    operation = read_step(mapping, {"Cutout": Cutout}, "training")
    for seed in range(15):
        pixels = pixels_of(*shape, seed)
        rng = np.random.default_rng(seed)
        rng.random()  # whether it is carried out at all
        theirs = by_mmcls([mapping], Image.fromarray(pixels), np.random.default_rng(seed))
        assert_array_equal(cutout(pixels, operation, rng), theirs[:, :, ::-1])


def test_random_erasing__does_not_touch_what_it_gets():
    pixels = pixels_of(30, 30)
    before = pixels.copy()
    erased = random_erasing(pixels, RandomErasing(erase_prob=1.0), np.random.default_rng(0))
    assert_array_equal(pixels, before)
    assert (erased != before).any()


def test_random_erasing__normalised_pixels_and_colour_order():
    pixels = np.zeros((20, 20, 3), np.float32)
    step = RandomErasing(erase_prob=1.0, fill_color=(1, 2, 3), min_area_ratio=1.0, max_area_ratio=1.0)
    late = random_erasing(pixels, step, np.random.default_rng(2), reverse_values=False)
    early = random_erasing(pixels, step, np.random.default_rng(2))
    assert late.dtype == np.float32
    assert late.max(axis=(0, 1)).tolist() == [1, 2, 3]
    assert early.max(axis=(0, 1)).tolist() == [3, 2, 1]


def test_erased_box__area_and_proportions_are_within_bounds():
    step = RandomErasing(min_area_ratio=0.1, max_area_ratio=0.2, aspect_range=(0.5, 2.0))
    rng = np.random.default_rng(0)
    boxes = np.array([erased_box(400, 300, step, rng) for _ in range(2000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shares = widths * heights / (300 * 400)
    assert shares.min() > 0.098
    assert shares.max() < 0.202
    assert abs(shares.mean() - 0.15) < 0.003
    assert 0.49 < (heights / widths).min() < 0.55
    assert 1.8 < (heights / widths).max() < 2.04
    assert abs(np.log(heights / widths).mean()) < 0.05


@pytest.mark.parametrize("mode", ["const", "rand"])
def test_random_erasing__probability(mode):
    pixels = pixels_of(10, 10)
    step = RandomErasing(erase_prob=0.25, mode=mode, min_area_ratio=0.2)
    changed = [(random_erasing(pixels, step, np.random.default_rng(seed)) != pixels).any() for seed in range(2000)]
    assert abs(np.mean(changed) - 0.25) < 0.04
