import io

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

import helpers
from modelscope_beit.images.color_modes import to_rgb

RAMP = np.linspace(0, 65535, 48 * 32).reshape(32, 48).astype(np.uint16)
COLOURS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (32, 48), np.uint8)


def through_file(picture: Image.Image, kind: str, **options) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    opened = Image.open(file)
    opened.load()
    return opened


def shown(picture: Image.Image) -> np.ndarray:
    rgb = to_rgb(picture)
    assert rgb.mode == "RGB"
    return np.asarray(rgb)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def test_to_rgb__rgb_is_not_copied():
    picture = Image.fromarray(COLOURS)
    assert to_rgb(picture) is picture


def test_to_rgb__grey():
    assert_array_equal(shown(Image.fromarray(ALPHA)), np.repeat(ALPHA[:, :, None], 3, axis=2))


def test_to_rgb__one_bit():
    bits = ALPHA > 127
    assert_array_equal(shown(through_file(Image.fromarray(bits), "PNG"))[..., 0], bits * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_to_rgb__grey_of_16_bits(kind):
    # The upper 8 of 16 bits: how Pillow itself reads 16-bit colour files.
    assert_array_equal(shown(through_file(Image.fromarray(RAMP), kind))[..., 1], RAMP >> 8)


def test_to_rgb__grey_of_16_bits_big_endian():
    picture = Image.frombytes("I;16B", (48, 32), RAMP.astype(">u2").tobytes())
    assert_array_equal(shown(picture)[..., 0], RAMP >> 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RAMP.astype(np.int32), RAMP >> 8),
        (ALPHA.astype(np.int32), ALPHA),
        (np.array([[-100, 0, 155]], np.int32), [[0, 100, 255]]),
        (np.array([[-(2**31), 0, 2**31 - 1]], np.int32), [[0, 128, 255]]),
        (np.array([[0, 100_000]], np.int32), [[0, 255]]),
        (np.array([[-5, -5]], np.int32), [[0, 0]]),
        (np.linspace(0, 1, 256, dtype=np.float32)[None], np.arange(256)[None]),
        (ALPHA.astype(np.float32), ALPHA),
        (RAMP.astype(np.float32), RAMP >> 8),
        (np.array([[-1, 0, 1]], np.float32), [[0, 128, 255]]),
        (np.array([[0, np.nan, np.inf, 1, -np.inf]], np.float32), [[0, 0, 255, 255, 0]]),
        (np.full((2, 2), np.nan, np.float32), np.zeros((2, 2))),
        (np.array([[-1e-3, 1e-3]], np.float32), [[0, 255]]),
        (np.array([[-3e38, 3e38]], np.float32), [[0, 255]]),
    ],
    ids=helpers.short_id,
)
def test_to_rgb__values_of_32_bits(values, expected):
    assert_array_equal(shown(Image.fromarray(values))[..., 2], expected)


def test_to_rgb__rgba_on_white():
    picture = through_file(Image.fromarray(np.dstack([COLOURS, ALPHA])), "PNG")
    assert_allclose(shown(picture), on_white(COLOURS, ALPHA), atol=1)


def test_to_rgb__grey_with_alpha_on_white():
    picture = through_file(Image.fromarray(np.dstack([COLOURS[..., 0], ALPHA])), "PNG")
    assert picture.mode == "LA"
    grey = np.repeat(COLOURS[:, :, :1], 3, axis=2)
    assert_allclose(shown(picture), on_white(grey, ALPHA), atol=1)


def test_to_rgb__premultiplied_alpha():
    picture = Image.fromarray(np.dstack([COLOURS, np.full((32, 48), 255, np.uint8)])).convert("RGBa")
    assert_array_equal(shown(picture), COLOURS)


def test_to_rgb__palette():
    quantized = Image.fromarray(COLOURS).quantize(16)
    palette = np.array(quantized.getpalette()).reshape(-1, 3)
    assert_array_equal(shown(through_file(quantized, "PNG")), palette[np.asarray(quantized)])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_to_rgb__palette_with_a_transparent_entry(kind):
    quantized = Image.fromarray(COLOURS).quantize(16)
    indices = np.asarray(quantized)
    expected = np.array(quantized.getpalette()).reshape(-1, 3)[indices]
    expected[indices == 3] = 255
    assert_array_equal(shown(through_file(quantized, kind, transparency=3)), expected)


def test_to_rgb__palette_with_alpha():
    quantized = Image.fromarray(COLOURS).quantize(4)
    indices = np.asarray(quantized)
    entries = np.array([0, 64, 128, 255])
    colours = np.array(quantized.getpalette()).reshape(-1, 3)[indices]
    picture = through_file(quantized, "PNG", transparency=bytes(entries.tolist()))
    assert_allclose(shown(picture), on_white(colours, entries[indices]), atol=1)


def test_to_rgb__colour_key():
    colours = COLOURS.copy()
    colours[:5] = (10, 20, 30)
    picture = through_file(Image.fromarray(colours), "PNG", transparency=(10, 20, 30))
    colours[:5] = 255
    assert_array_equal(shown(picture), colours)


def test_to_rgb__cmyk():
    cmyk = np.zeros((1, 4, 4), np.uint8)
    cmyk[0, 0] = (255, 0, 0, 0)
    cmyk[0, 1] = (0, 255, 0, 0)
    cmyk[0, 2] = (0, 0, 255, 0)
    cmyk[0, 3] = (0, 0, 0, 255)
    expected = [[[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]]
    assert_array_equal(shown(Image.frombytes("CMYK", (4, 1), cmyk.tobytes())), expected)


def test_to_rgb__cmyk_jpeg_of_adobe():
    # Pillow writes CMYK JPEGs as Adobe does: with an Adobe marker, and inverted.
    paper = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    picture = through_file(paper, "JPEG", quality=100)
    assert picture.mode == "CMYK" and "adobe" in picture.info
    assert_allclose(shown(picture), np.broadcast_to([0, 255, 255], (16, 16, 3)), atol=2)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_to_rgb__other_colour_spaces(mode):
    assert_allclose(shown(Image.new("RGB", (4, 4), (200, 100, 50)).convert(mode))[0, 0], (200, 100, 50), atol=4)


def test_to_rgb__lab():
    # Lightness 0 to 255; 128 is no colour.
    assert_allclose(shown(Image.new("LAB", (1, 2), (255, 128, 128))), np.full((2, 1, 3), 255), atol=2)
    assert_allclose(shown(Image.new("LAB", (1, 1), (0, 128, 128))), np.zeros((1, 1, 3)), atol=2)
