import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageEnhance, ImageOps

from modelscope_beit.images import photometric
from modelscope_beit.settings.augmentation_steps import Lighting

EIGVAL = (55.4625, 4.794, 1.1475)
EIGVEC = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def noise(height: int, width: int, low: int = 0, high: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), np.uint8)


PICTURES = {
    "noise": noise(50, 61),
    "dull": noise(40, 40, 100, 120),
    "one colour": np.full((9, 7, 3), (10, 200, 77), np.uint8),
    "one pixel": noise(1, 1),
    "row": noise(1, 40),
    "column": noise(40, 1),
    "black and white": noise(30, 30, 0, 2) * 255,
}
FACTORS = [-0.3, 0.0, 0.1, 0.55, 0.999, 1.0, 1.37, 1.9, 2.8]


@pytest.fixture(scope="module")
def mmcv():
    return pytest.importorskip("mmcv", reason="the oracle, mmcv, comes with the extra openmmlab")


def assert_equal_to_mmcv(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.uint8
    assert_array_equal(ours, theirs[:, :, ::-1])


@pytest.fixture(params=PICTURES.values(), ids=PICTURES.keys())
def pixels(request) -> np.ndarray:
    return request.param


@pytest.fixture
def bgr(pixels) -> np.ndarray:
    return np.ascontiguousarray(pixels[:, :, ::-1])


@pytest.mark.openmmlab
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (photometric.adjust_brightness, "adjust_brightness"),
        (photometric.adjust_contrast, "adjust_contrast"),
        (photometric.adjust_color, "adjust_color"),
        (photometric.adjust_sharpness, "adjust_sharpness"),
    ],
)
def test_adjustments__equal_mmcv(mmcv, pixels, bgr, ours, theirs):
    for factor in [*FACTORS, *np.random.default_rng(0).uniform(0, 2, 40)]:
        assert_equal_to_mmcv(ours(pixels, factor), getattr(mmcv, theirs)(bgr, factor))


@pytest.mark.openmmlab
def test_histogram_operations__equal_mmcv(mmcv, pixels, bgr):
    assert_equal_to_mmcv(photometric.auto_contrast(pixels), mmcv.auto_contrast(bgr))
    assert_equal_to_mmcv(photometric.equalize(pixels), mmcv.imequalize(bgr))


@pytest.mark.openmmlab
@pytest.mark.parametrize("threshold", [0, 1, 77.5, 128, 255, 256])
def test_solarize__equals_mmcv(mmcv, pixels, bgr, threshold):
    assert_equal_to_mmcv(photometric.solarize(pixels, threshold), mmcv.solarize(bgr, threshold))


@pytest.mark.openmmlab
def test_grayscale__equals_mmcls(mmcv, pixels, bgr):
    assert_array_equal(photometric.gray_of(pixels), mmcv.bgr2gray(bgr))
    # RandomGrayscale calls rgb2gray with a BGR picture.
    assert_array_equal(photometric.grayscale(pixels)[:, :, 0], mmcv.rgb2gray(bgr))


@pytest.mark.openmmlab
@pytest.mark.parametrize("to_rgb", [True, False])
def test_add_light__equals_mmcv(mmcv, monkeypatch, pixels, bgr, to_rgb):
    shares = np.array([0.1, -0.3, 0.05])
    monkeypatch.setattr(np.random, "normal", lambda mean, std, count: shares)
    theirs = mmcv.adjust_lighting(bgr, np.array(EIGVAL), np.array(EIGVEC), to_rgb=to_rgb)
    ours = photometric.add_light(pixels, Lighting(EIGVAL, EIGVEC, to_rgb=to_rgb), shares)
    assert_array_equal(ours, theirs[:, :, ::-1])


def test_tables__equal_pillow(pixels):
    picture = Image.fromarray(pixels)
    assert_array_equal(photometric.invert(pixels), ImageOps.invert(picture))
    assert_array_equal(photometric.solarize(pixels, 100), ImageOps.solarize(picture, 100))
    for bits in range(1, 9):
        assert_array_equal(photometric.posterize(pixels, bits), ImageOps.posterize(picture, bits))


def test_enhancements__near_pillow(pixels):
    picture = Image.fromarray(pixels)
    for ours, theirs in (
        (photometric.adjust_brightness, ImageEnhance.Brightness),
        (photometric.adjust_contrast, ImageEnhance.Contrast),
        (photometric.adjust_color, ImageEnhance.Color),
    ):
        for factor in (0.0, 0.4, 1.0, 1.7):
            expected = np.asarray(theirs(picture).enhance(factor)).astype(int)
            # Pillow's grey has 16-bit weights, so the plain form differs by one level, and that by the factor.
            assert abs(ours(pixels, factor).astype(int) - expected).max() <= 2


def test_posterize__rounds_bits_up():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert_array_equal(photometric.posterize(levels, 3.2), levels & 0b11110000)
    assert_array_equal(photometric.posterize(levels, 0), levels * 0)


def test_solarize_add__adds_below_the_threshold():
    pixels = np.array([[[0, 100, 127], [128, 200, 255]]], np.uint8)
    assert_array_equal(photometric.solarize_add(pixels, 30.9, 128), [[[30, 130, 157], [128, 200, 255]]])
    assert_array_equal(photometric.solarize_add(pixels, 250, 128), [[[250, 255, 255], [128, 200, 255]]])
    assert_array_equal(photometric.solarize_add(pixels, -50, 128), [[[0, 50, 77], [128, 200, 255]]])


def test_adjust_brightness__golden_values():
    # mmcv 1.7.2 with OpenCV 5.0.0: the last level hangs on how products are rounded.
    pixels = np.array([[[10, 20, 30], [100, 200, 250]]], np.uint8)
    assert_array_equal(photometric.adjust_brightness(pixels, 1.1), [[[11, 22, 33], [110, 220, 255]]])
    assert_array_equal(photometric.adjust_brightness(pixels, 0.7), [[[7, 14, 21], [70, 140, 175]]])


def test_equalize__spreads_levels():
    pixels = noise(64, 64, 100, 140)
    levels = np.unique(photometric.equalize(pixels)[:, :, 1])
    # Forty levels, about equally frequent, now reach from 0 to 255.
    assert levels[0] == 0
    assert levels[-1] == 255
    assert np.diff(levels).max() <= 10
