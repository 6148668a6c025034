"""Two views of one crop: against Pillow, torchvision's box, and unilm's order of steps."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torchvision.transforms import functional

from modelscope_beit.errors import ImageError
from modelscope_beit.images.two_views import TwoViews, normalised, unit_range
from modelscope_beit.settings.masked_pretraining import (
    MaskedPretrainingSettings,
    ViewSettings,
    masked_pretraining_settings,
)

PLAIN = {"color_jitter": 0.0, "flip": 0.0}


def settings_with(**views) -> MaskedPretrainingSettings:
    return MaskedPretrainingSettings(views=ViewSettings(**views))


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy()


def test_views__are_one_crop(photographs):
    """With two filters of different sizes both are the same box: halved, they differ by no more than filters do."""
    views = TwoViews(settings_with(code_size=(112, 112), code_interpolation="lanczos"))
    for seed in range(8):
        pair = views(photographs[seed % 2], np.random.default_rng(seed))
        assert pair.pixels.shape == (3, 224, 224) and pair.code_pixels.shape == (3, 112, 112)
        halved = Image.fromarray(array(pair.pixels)).resize((112, 112), Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(halved, float) - array(pair.code_pixels)).mean() < 4


def test_views__of_one_size_and_filter_are_identical(photographs):
    same = TwoViews(settings_with())(photographs[0], np.random.default_rng(0))
    assert same.code_pixels is same.pixels
    other = TwoViews(settings_with(code_interpolation="lanczos"))(photographs[0], np.random.default_rng(0))
    assert torch.equal(other.pixels, same.pixels) and not torch.equal(other.code_pixels, same.code_pixels)


def test_views__of_the_whole_picture_are_pillows(photographs):
    views = TwoViews(settings_with(**PLAIN, scale=(1.0, 1.0), ratio=(640 / 427, 640 / 427), code_size=(64, 64)))
    pair = views(photographs[0], np.random.default_rng(0))
    for found, size in ((pair.pixels, 224), (pair.code_pixels, 64)):
        expected = photographs[0].resize((size, size), Image.Resampling.BICUBIC)
        assert np.array_equal(array(found), np.asarray(expected))


def test_views__are_flipped_as_often_as_they_should(photographs):
    small = photographs[1].resize((64, 64))
    views = TwoViews(
        MaskedPretrainingSettings(views=ViewSettings(color_jitter=0, scale=(1, 1), ratio=(1, 1), code_size=(8, 8)))
    )
    mirrored = np.asarray(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((8, 8), Image.Resampling.BICUBIC))
    flips = [np.array_equal(array(views(small, np.random.default_rng(n)).code_pixels), mirrored) for n in range(200)]
    assert 0.38 < np.mean(flips) < 0.62


def test_views__boxes_have_torchvisions_distribution():
    """Area and proportions of the box, read off a picture whose red is the column and green the row."""
    rows, columns = np.mgrid[0:200, 0:240]
    ramp = Image.fromarray(np.stack([columns, rows, rows * 0], axis=-1).astype(np.uint8))
    views = TwoViews(settings_with(**PLAIN, code_size=(2, 2)))
    areas, ratios = [], []
    for number in range(400):
        pixels = array(views(ramp, np.random.default_rng(number)).pixels).astype(float)
        wide = (pixels[112, -20, 0] - pixels[112, 20, 0]) * 224 / 184
        high = (pixels[-20, 112, 1] - pixels[20, 112, 1]) * 224 / 184
        areas.append(wide * high / (200 * 240))
        ratios.append(wide / high)
    # Area uniform from 0.2 to 1 but for boxes that do not fit; the logarithm of the proportions uniform.
    assert 0.19 < min(areas) < 0.25 and 0.85 < max(areas) < 1.02
    assert 0.73 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.36


def test_views__jitter_is_torchvisions(photographs):
    """Each of the three changes, with factors from 0.6 to 1.4, in random order, on the whole picture."""
    picture = photographs[0].crop((0, 0, 96, 64))
    views = TwoViews(settings_with(flip=0.0, scale=(1, 1), ratio=(1.5, 1.5), code_size=(64, 96)))
    for seed in range(5):
        found = array(views(picture, np.random.default_rng(seed)).code_pixels)
        rng = np.random.default_rng(seed)
        factors = rng.uniform(0.6, 1.4, 3)
        adjust = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
        expected = picture
        for place in rng.permutation(3):
            expected = adjust[place](expected, factors[place])
        assert np.array_equal(found, np.asarray(expected))
    assert not np.array_equal(found, np.asarray(ImageEnhance.Brightness(picture).enhance(1.0)))


def test_views__fixed_crops_come_again_whatever_the_generator(photographs):
    views = TwoViews(settings_with(num_crops=2))
    seen = {views(photographs[0], np.random.default_rng(seed)).pixels.numpy().tobytes() for seed in range(12)}
    assert len(seen) == 2
    again = {
        views(photographs[0].copy(), np.random.default_rng(100 + seed)).pixels.numpy().tobytes() for seed in range(9)
    }
    assert again == seen
    other = {views(photographs[1], np.random.default_rng(seed)).pixels.numpy().tobytes() for seed in range(6)}
    assert len(other) == 2 and not other & seen


def test_views__any_size():
    settings = masked_pretraining_settings("tiny", image_size=(96, 128))
    pair = TwoViews(settings)(Image.new("RGB", (50, 40), "red"), np.random.default_rng(0))
    assert pair.pixels.shape == (3, 96, 128)


def test_views__refuse_what_is_not_rgb():
    with pytest.raises(ImageError, match="not one of mode L"):
        TwoViews(settings_with())(Image.new("L", (50, 40)), np.random.default_rng(0))


def test_unit_range__is_what_to_tensor_gives(photographs):
    pixels = torch.from_numpy(np.array(photographs[0])).permute(2, 0, 1)[None]
    found = unit_range(pixels)
    assert torch.equal(found[0], functional.to_tensor(photographs[0]))
    assert 0 <= found.min() and found.max() <= 1


def test_normalised__is_what_torchvision_gives(photographs):
    pixels = torch.from_numpy(np.array(photographs[1])).permute(2, 0, 1)[None]
    views = ViewSettings()
    expected = functional.normalize(functional.to_tensor(photographs[1]), list(views.mean), list(views.std))
    assert torch.allclose(normalised(pixels, views.mean, views.std)[0], expected, atol=1e-6)
