import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from modelscope_beit.errors import MissingPackageError
from modelscope_beit.images import opencv_resizing
from modelscope_beit.images.opencv_resizing import resize_like_opencv

FILTERS = {"nearest": "INTER_NEAREST", "bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC"}
FILTERS |= {"area": "INTER_AREA", "lanczos": "INTER_LANCZOS4"}
SIDES = st.integers(1, 300)


@pytest.fixture(scope="module")
def by_opencv():
    cv2 = pytest.importorskip("cv2", reason="OpenCV, the oracle, comes with the extra openmmlab")

    def resize(pixels: np.ndarray, width: int, height: int, interpolation: str) -> np.ndarray:
        return cv2.resize(
            np.ascontiguousarray(pixels), (width, height), interpolation=getattr(cv2, FILTERS[interpolation])
        )

    return resize


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("interpolation", "height", "width", "expected"),
    [
        ("bilinear", 3, 5, [[0, 102, 255, 108, 10], [100, 117, 143, 87, 50], [200, 132, 30, 66, 90]]),
        ("bilinear", 5, 2, [[64, 71], [73, 72], [111, 73], [148, 74], [157, 75]]),
        ("nearest", 3, 5, [[0, 0, 255, 255, 10], [0, 0, 255, 255, 10], [200, 200, 30, 30, 90]]),
    ],
)
def test_resize_like_opencv__golden_values(interpolation, height, width, expected):
    # Computed by OpenCV 5.0.0 and 4.10.0, cv2.resize, so that something is checked where OpenCV is not installed.
    pixels = np.repeat(np.array([[0, 255, 10], [200, 30, 90]], np.uint8)[:, :, None], 3, axis=2)
    resized = resize_like_opencv(pixels, width, height, interpolation)
    assert_array_equal(resized, np.repeat(np.array(expected)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 2**16))
@settings(max_examples=300, deadline=None)
@pytest.mark.openmmlab
def test_resize_like_opencv__equals_opencv(by_opencv, interpolation, height, width, new_height, new_width, seed):
    pixels = noise(height, width, seed)
    expected = by_opencv(pixels, new_width, new_height, interpolation)
    assert_array_equal(resize_like_opencv(pixels, new_width, new_height, interpolation), expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    ("size", "new_size"),
    [
        ((600, 800), (300, 400)),  # both sides halved: OpenCV takes the mean of four
        ((600, 800), (300, 401)),
        ((600, 800), (301, 400)),
        ((600, 800), (200, 200)),
        ((1, 1), (224, 224)),
        ((1, 7), (224, 1568)),
        ((3000, 2), (3, 500)),
        ((2, 2), (1, 1)),
        ((1500, 2000), (256, 341)),
        ((224, 224), (224, 224)),
    ],
)
@pytest.mark.openmmlab
def test_resize_like_opencv__special_sizes(by_opencv, interpolation, size, new_size):
    pixels = noise(*size)
    expected = by_opencv(pixels, new_size[1], new_size[0], interpolation)
    assert_array_equal(resize_like_opencv(pixels, new_size[1], new_size[0], interpolation), expected)


@pytest.mark.openmmlab
def test_resize_like_opencv__array_with_gaps(by_opencv):
    pixels = noise(80, 90)[::-1, 3:70, ::-1]
    expected = by_opencv(pixels, 50, 60, "bilinear")
    assert_array_equal(resize_like_opencv(pixels, 50, 60, "bilinear"), expected)


@pytest.mark.parametrize("interpolation", ["bicubic", "area", "lanczos"])
@pytest.mark.openmmlab
def test_resize_like_opencv__filters_of_opencv_itself(by_opencv, interpolation):
    pixels = noise(80, 90)
    expected = by_opencv(pixels, 50, 60, interpolation)
    assert_array_equal(resize_like_opencv(pixels, 50, 60, interpolation), expected)


def test_resize_like_opencv__filter_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert resize_like_opencv(noise(8, 8), 4, 4, "bilinear").shape == (4, 4, 3)
    with pytest.raises(MissingPackageError, match=r"cv2.*bicubic.*modelscope-beit\[openmmlab\]"):
        resize_like_opencv(noise(8, 8), 4, 4, "bicubic")


def test_resize_like_opencv__is_independent_of_the_block_size(monkeypatch):
    pixels = noise(333, 222)
    whole = resize_like_opencv(pixels, 111, 200, "bilinear")
    monkeypatch.setattr(opencv_resizing, "_BLOCK_VALUES", 1)
    assert_array_equal(resize_like_opencv(pixels, 111, 200, "bilinear"), whole)
