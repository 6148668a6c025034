"""Small pictures for a page, decoded again."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelscope_beit.evaluation.thumbnails import SIDE_PIXELS, thumbnail_address


def decoded(address: str | None) -> Image.Image:
    assert address is not None
    head, _, content = address.partition(";base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    assert head == f"data:image/{str(picture.format).lower()}"
    return picture


def test_thumbnail_address__keeps_the_proportions_and_what_is_seen(
    tmp_path: Path, photographs: tuple[Image.Image, ...]
) -> None:
    photographs[0].save(tmp_path / "a.jpg", quality=95)
    small = decoded(thumbnail_address(tmp_path / "a.jpg"))
    assert (small.format, small.size) == ("JPEG", (SIDE_PIXELS, 107))
    expected = photographs[0].resize(small.size, Image.Resampling.BOX)
    difference = np.asarray(small, float) - np.asarray(expected, float)
    assert np.abs(difference).mean() < 6


def test_thumbnail_address__keeps_tiny_pictures_pixel_by_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3)).astype(np.uint8)
    small = decoded(thumbnail_address(Image.fromarray(pixels)))
    assert small.format == "PNG"
    np.testing.assert_array_equal(np.asarray(small), pixels)


@pytest.mark.parametrize("size", [(60, 60), (640, 427)])
def test_thumbnail_address__leaves_out_what_the_file_says_of_its_owner(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "teal")
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    picture.save(tmp_path / "a.jpg", exif=exif, comment=b"SECRET comment", icc_profile=b"SECRET profile")
    address = thumbnail_address(tmp_path / "a.jpg")
    assert address is not None
    assert b"SECRET" not in base64.b64decode(address.partition(",")[2])


def test_thumbnail_address__does_not_change_the_picture_it_gets(photographs: tuple[Image.Image, ...]) -> None:
    copy = photographs[0].copy()
    thumbnail_address(copy)
    assert copy == photographs[0]


def test_thumbnail_address__of_a_picture_that_is_gone_is_none(tmp_path: Path) -> None:
    assert thumbnail_address(tmp_path / "gone.jpg") is None
