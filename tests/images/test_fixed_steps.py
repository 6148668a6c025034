import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.images.fixed_steps import (
    add_border,
    apply_fixed_step,
    crop,
    crop_or_pad,
    middle_box,
    resized_size,
    size_of,
)
from modelscope_beit.settings.preprocessing import CenterCrop, Pad, Resize

# What mmcls makes of whole lists of these steps is compared in test_evaluation_transform.py.
BORDERS = {"edge": "BORDER_REPLICATE", "reflect": "BORDER_REFLECT_101", "symmetric": "BORDER_REFLECT"}


def pixels_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.openmmlab
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("border", [(1, 2, 3, 4), (0, 0, 9, 0), (12, 12, 12, 12)], ids=str)
@pytest.mark.parametrize("value", [0, 7, 300, (1, 2.5, 250)], ids=str)
def test_add_border__equals_opencv(mode, border, value):
    cv2 = pytest.importorskip("cv2", reason="OpenCV, the oracle, comes with the extra openmmlab")
    pixels = pixels_of(6, 5)
    left, top, right, bottom = border
    kind = getattr(cv2, BORDERS.get(mode, "BORDER_CONSTANT"))
    bgr = np.ascontiguousarray(pixels[:, :, ::-1])
    expected = cv2.copyMakeBorder(bgr, top, bottom, left, right, kind, value=value)
    assert_array_equal(add_border(pixels, border, value, mode, reverse_values=True), expected[:, :, ::-1])
    assert_array_equal(add_border(bgr, border, value, mode, reverse_values=False), expected)


def test_add_border__refuses_what_is_absurdly_large():
    with pytest.raises(ImageError, match="would become one of"):
        add_border(pixels_of(2, 2), (0, 0, 10**6, 10**6), 0, "constant", reverse_values=True)


@pytest.mark.parametrize("box", [(0, 0, 7, 5), (1, 2, 4, 5)], ids=str)
def test_crop__pictures_and_arrays_alike(box):
    pixels = pixels_of(5, 7)
    left, top, right, bottom = box
    assert_array_equal(crop(pixels, box), pixels[top:bottom, left:right])
    assert_array_equal(np.asarray(crop(Image.fromarray(pixels), box)), pixels[top:bottom, left:right])
    assert size_of(crop(Image.fromarray(pixels), box)) == (right - left, bottom - top)


@pytest.mark.parametrize(
    ("side", "expected"), [("short", (64, 32)), ("long", (32, 16)), ("width", (32, 16)), ("height", (64, 32))]
)
def test_resized_size__sides_that_follow(side, expected):
    assert resized_size(100, 50, Resize((32, -1), adaptive_side=side)) == expected


def test_resized_size__nothing_left():
    with pytest.raises(ImageError, match="would become one of 32x0"):
        resized_size(1000, 5, Resize((32, -1), adaptive_side="width"))


def test_middle_box__rounds_halves_to_the_even_number():
    assert middle_box(7, 9, 4.0, 4.0) == (2, 2, 6, 6)
    assert middle_box(5, 5, 8.0, 8.0) == (0, 0, 5, 5)


def test_middle_box__rounds_down_if_asked():
    assert middle_box(7, 9, 4.0, 4.0, round_down=True) == (1, 2, 5, 6)
    assert middle_box(5, 5, 8.0, 8.0, round_down=True) == (0, 0, 5, 5)
    pixels = pixels_of(7, 9)
    assert_array_equal(apply_fixed_step(pixels, CenterCrop(4, round_down=True)), pixels[1:5, 2:6])


def test_steps__before_and_after_normalize_cut_and_pad_alike():
    pixels = pixels_of(20, 30)
    for step in (CenterCrop(10), CenterCrop((4, 40)), Pad(size=(25, 40)), Pad(pad_to_square=True, padding_mode="edge")):
        assert_array_equal(apply_fixed_step(pixels, step), crop_or_pad(pixels, step))
