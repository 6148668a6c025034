import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from modelscope_beit.images.part_resizing import PILLOW_FILTERS, resize_part

FILTERS = sorted(PILLOW_FILTERS)


def picture_of(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


def assert_equal_to_pillow(picture, size, part, interpolation) -> None:
    expected = picture.resize(size, PILLOW_FILTERS[interpolation]).crop(part)
    assert_array_equal(np.asarray(resize_part(picture, size, part, interpolation)), np.asarray(expected))


@given(
    source=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    size=st.tuples(st.one_of(st.integers(1, 300), st.sampled_from([32, 64, 128, 256])), st.integers(1, 300)),
    swapped=st.booleans(),
    interpolation=st.sampled_from(FILTERS),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_resize_part__any_sizes(source, size, swapped, interpolation, data):
    size = size[::-1] if swapped else size
    left, top = (data.draw(st.integers(0, side - 1)) for side in size)
    right, bottom = data.draw(st.integers(left + 1, size[0])), data.draw(st.integers(top + 1, size[1]))
    assert_equal_to_pillow(picture_of(*source), size, (left, top, right, bottom), interpolation)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((500, 375), (341, 256)),  # the height in binary fractions
        ((375, 500), (256, 341)),
        ((375, 500), (248, 330)),  # neither
        ((500, 375), (330, 248)),
        ((512, 512), (256, 256)),  # both
        ((640, 427), (383, 256)),
        (
            (1920, 1080),
            (455, 256),
        ),  # the part of the width begins at a whole pixel, though the scale is no such fraction
        ((100, 60), (426, 256)),  # enlarged
        ((256, 900), (256, 900)),
        ((2500, 300), (2133, 256)),
    ],
)
def test_resize_part__middle(source, size, interpolation):
    side = min(224, *size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    assert_equal_to_pillow(picture_of(*source), size, (left, top, left + side, top + side), interpolation)


def test_resize_part__whole_blocks():
    # 384 of 1920 pixels become 91 of 455: whole numbers, but 384/91 is no binary fraction.
    assert_equal_to_pillow(picture_of(1920, 64), (455, 64), (91, 0, 364, 60), "bicubic")


def test_resize_part__computes_less(monkeypatch):
    """The share of the width that is cut off is not computed where that can be helped."""
    computed = []
    resize = Image.Image.resize

    def spy(picture, size, *arguments):
        computed.append(size)
        return resize(picture, size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", spy)
    resize_part(picture_of(500, 375), (341, 256), (58, 16, 282, 240), "bicubic")
    assert computed == [(341, 224)]
    computed.clear()
    resize_part(picture_of(375, 500), (256, 341), (16, 58, 240, 282), "bicubic")
    assert [width for width, _ in computed] == [224, 224]
    assert computed[0][1] < 375


def test_resize_part__leaves_the_picture_alone():
    picture = picture_of(375, 500)
    before = picture.tobytes()
    resize_part(picture, (256, 341), (16, 58, 240, 282), "bicubic")
    assert picture.tobytes() == before
