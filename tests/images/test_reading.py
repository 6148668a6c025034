import base64
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import ExifTags, Image, ImageOps
from sklearn.datasets import load_sample_image

import helpers
from modelscope_beit.errors import ImageError
from modelscope_beit.images import reading
from modelscope_beit.images.reading import read_image

PHOTOGRAPH = Image.fromarray(load_sample_image("china.jpg")[100:220, 200:360])


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


JPEG = encoded(PHOTOGRAPH, "JPEG", quality=90)
PIXELS = np.asarray(Image.open(io.BytesIO(JPEG)))


@pytest.fixture
def jpeg_file(tmp_path: Path) -> Path:
    file = tmp_path / "a picture.jpg"
    file.write_bytes(JPEG)
    return file


@pytest.fixture(scope="module")
def stock_reader():
    """ModelScope's own reading of a pipeline's input."""
    return pytest.importorskip("modelscope.preprocessors.image", reason="ModelScope is the oracle").LoadImage


def test_read_image__every_kind_of_source(jpeg_file):
    picture = Image.open(jpeg_file)
    sources = [
        str(jpeg_file),
        jpeg_file,
        jpeg_file.as_uri(),
        "data:image/jpeg;base64," + base64.b64encode(JPEG).decode(),
        JPEG,
        bytearray(JPEG),
        memoryview(JPEG),
        picture,
        PIXELS[:, :, ::-1],  # OpenCV's BGR
    ]
    for source in [*sources, *({"image": source} for source in sources)]:
        result = read_image(source)
        assert result.mode == "RGB"
        assert_array_equal(np.asarray(result), PIXELS)


def test_read_image__rgb_picture_is_not_copied():
    assert read_image(PHOTOGRAPH) is PHOTOGRAPH


def test_read_image__array_is_not_changed_and_not_kept():
    array = PIXELS.copy()
    result = read_image(array)
    array[:] = 0
    assert_array_equal(np.asarray(result), PIXELS[:, :, ::-1])


def test_read_image__grey_arrays():
    grey = PIXELS[:, :, 0]
    for array in (grey, grey[:, :, None], grey.T.copy().T):
        assert_array_equal(np.asarray(read_image(array)), np.repeat(grey[:, :, None], 3, axis=2))


def test_read_image__bgra_array_on_white():
    array = np.zeros((1, 3, 4), np.uint8)
    array[0, :, :3] = (10, 20, 30)
    array[0, :, 3] = (255, 0, 51)
    assert_array_equal(np.asarray(read_image(array)), [[[30, 20, 10], [255, 255, 255], [210, 208, 206]]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_image__exif_orientation(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(PHOTOGRAPH, kind, exif=with_orientation(orientation), **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    result = read_image(content)
    assert result.size == (PHOTOGRAPH.size if orientation < 5 else PHOTOGRAPH.size[::-1])
    assert_array_equal(np.asarray(result), np.asarray(upright))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_read_image__unknown_exif_orientation(orientation):
    content = encoded(PHOTOGRAPH, "PNG", exif=with_orientation(orientation))
    assert_array_equal(np.asarray(read_image(content)), np.asarray(PHOTOGRAPH))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_read_image__broken_exif():
    content = encoded(PHOTOGRAPH, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\xff broken")
    assert_array_equal(np.asarray(read_image(content)), np.asarray(PHOTOGRAPH))


@pytest.mark.parametrize(
    ("least", "size"),
    [((160, 120), None), ((81, 60), None), ((80, 60), (80, 60)), ((41, 30), (80, 60)), ((5, 5), (20, 15))],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_read_image__no_smaller_than_needed(least, size, orientation):
    asked = []

    def least_size(width: int, height: int) -> tuple[int, int]:
        asked.append((width, height))
        return least if orientation == 1 else least[::-1]

    order = 1 if orientation == 1 else -1
    content = encoded(PHOTOGRAPH, "JPEG", exif=with_orientation(orientation))
    picture = read_image(content, least=least_size)
    full_size = PHOTOGRAPH.size[::order]
    assert asked == [full_size]
    assert picture.size == (full_size if size is None else size[::order])
    assert picture.info.get(reading.FULL_SIZE) == (None if size is None else full_size)
    whole = read_image(content).resize(picture.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(whole, float) - np.asarray(picture, float)).mean() < 6


def test_read_image__only_jpegs_are_decoded_smaller():
    content = encoded(PHOTOGRAPH, "PNG")
    assert read_image(content, least=lambda width, height: (5, 5)).size == PHOTOGRAPH.size


def test_read_image__pillow_pictures_are_not_turned():
    content = encoded(PHOTOGRAPH, "PNG", exif=with_orientation(6))
    assert read_image(Image.open(io.BytesIO(content))).size == PHOTOGRAPH.size


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_read_image__first_frame_of_an_animation(kind):
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    content = encoded(red, kind, save_all=True, append_images=[blue])
    assert Image.open(io.BytesIO(content)).n_frames == 2
    red_seen = np.asarray(read_image(content)).reshape(-1, 3).mean(axis=0)
    assert abs(red_seen - (255, 0, 0)).max() < 5


def test_read_image__result_outlives_its_file(jpeg_file):
    result = read_image(jpeg_file)
    jpeg_file.unlink()
    assert_array_equal(np.asarray(result.copy()), PIXELS)


# Stock ModelScope as the oracle, for the kinds that it reads as a viewer would.
def test_read_image__equals_modelscope(stock_reader, tmp_path):
    pictures = {
        "rgb.jpg": {},
        "turned.jpg": {"exif": with_orientation(6)},
        "mirrored.jpg": {"exif": with_orientation(5)},
    }
    for name, options in pictures.items():
        PHOTOGRAPH.save(tmp_path / name, **options)
    PHOTOGRAPH.convert("L").save(tmp_path / "grey.jpg")
    PHOTOGRAPH.convert("CMYK").save(tmp_path / "cmyk.jpg")
    PHOTOGRAPH.convert("1").save(tmp_path / "bits.png")
    PHOTOGRAPH.quantize(64).save(tmp_path / "palette.png")
    for file in sorted(tmp_path.iterdir()):
        assert_array_equal(np.asarray(read_image(str(file))), stock_reader.convert_to_ndarray(str(file)), file.name)
    for source in (PHOTOGRAPH, PHOTOGRAPH.convert("L"), Image.open(tmp_path / "turned.jpg"), PIXELS, PIXELS[:, :, 0]):
        assert_array_equal(np.asarray(read_image(source)), stock_reader.convert_to_ndarray(source))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"no picture at all", "is no picture that Pillow"),
        (JPEG[:1000], "the pixels cannot be decoded.*truncated"),
        (JPEG[: len(JPEG) // 2], "the pixels cannot be decoded.*truncated"),
        (encoded(PHOTOGRAPH, "PNG")[:2000], "the pixels cannot be decoded"),
        (JPEG[:3], "is no picture|the header cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS files are programs"),
    ],
    ids=["empty", "text", "start of JPEG", "half JPEG", "start of PNG", "three bytes", "PostScript"],
)
def test_read_image__malformed_file(content, cause, tmp_path):
    file = tmp_path / "broken.jpg"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=f"^{file}: {cause}"):
        read_image(file)
    with pytest.raises(ImageError, match=cause):
        read_image(content)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes whose header announces width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_read_image__decompression_bomb(tmp_path):
    file = tmp_path / "bomb.png"
    file.write_bytes(bomb(60_000, 60_000))
    with pytest.raises(ImageError, match=rf"{file}: too large.*3600000000 pixels"):
        read_image(file)


def test_read_image__decompression_bomb_without_pillows_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match=rf"60000x60000 pixels, but at most {reading.MAX_PIXELS} are read"):
        read_image(bomb(60_000, 60_000))


def test_read_image__decompression_warning_made_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match="too large"):
            read_image(bomb(10_000, 10_000))


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("no/such/file.jpg", "^no/such/file.jpg: cannot be opened: No such file"),
        (Path("no/such/file.jpg"), "^no/such/file.jpg: cannot be opened"),
        ("null\0character", "cannot be opened: embedded null"),
        ("", "cannot be opened"),
        ("/", "^/: cannot be opened: Is a directory"),
        (None, "a NoneType came"),
        (7, "a int came"),
        ([JPEG], "a list came"),
        ({}, r"key 'image' is expected, but it has only \[\]"),
        ({"img": JPEG}, r"only \['img'\]"),
        ({"image": None}, "a NoneType came"),
        ({"image": {"image": JPEG}}, "a dict came"),
        (Image.new("RGB", (0, 5)), "has 0x5 pixels"),
    ],
    ids=helpers.short_id,
)
def test_read_image__sources_that_are_none(source, cause):
    with pytest.raises(ImageError, match=cause):
        read_image(source)


@pytest.mark.parametrize(
    ("array", "cause"),
    [
        (np.zeros((4, 5, 3), np.float32), r"shape \(4, 5, 3\) and type float32.*multiply values from 0 to 1 by 255"),
        (np.zeros((4, 5, 3), np.float64), "uint8"),
        (np.zeros((4, 5), np.uint16), "type uint16: .* scale and convert"),
        (np.zeros((4, 5), bool), "type bool"),
        (np.zeros((4, 5), object), "type object"),
        (np.zeros((3, 40, 50), np.uint8), r"\(H, W, 3\).*transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 2), np.uint8), r"shape \(4, 5, 2\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"shape \(1, 4, 5, 3\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.array(5, np.uint8), r"shape \(\)"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
    ],
    ids=lambda value: f"{value.shape}{value.dtype}" if isinstance(value, np.ndarray) else "",
)
def test_read_image__arrays_of_another_kind(array, cause):
    with pytest.raises(ImageError, match=cause):
        read_image(array)


def test_read_image__broken_pillow_picture(tmp_path):
    file = tmp_path / "half.jpg"
    file.write_bytes(JPEG[:1000])
    with pytest.raises(ImageError, match=f"{file}.*truncated"):
        read_image(Image.open(file))


FILES = [
    JPEG,
    encoded(PHOTOGRAPH.resize((20, 15)), "PNG", exif=with_orientation(6)),
    encoded(PHOTOGRAPH.resize((20, 15)).quantize(16), "GIF"),
    encoded(PHOTOGRAPH.resize((20, 15)), "WEBP"),
    encoded(PHOTOGRAPH.resize((20, 15)), "TIFF", exif=with_orientation(6)),
    encoded(PHOTOGRAPH.resize((20, 15)), "BMP"),
    encoded(PHOTOGRAPH.resize((16, 16)), "ICO"),
]


def read_or_refuse(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what it finds in broken files
        try:
            assert read_image(content).mode == "RGB"
        except ImageError as error:
            assert str(error)


@given(st.binary(max_size=200))
def test_read_image__any_bytes(content):
    read_or_refuse(content)


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_read_image__cut_and_broken_files(content, data):
    broken = bytearray(content[: data.draw(st.integers(0, len(content)), "length")])
    for _ in range(data.draw(st.integers(0, 4), "changes") if broken else 0):
        broken[data.draw(st.integers(0, min(len(broken), 400) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(broken))


@given(st.integers(0, len(JPEG)))
@settings(deadline=None)
def test_read_image__truncated_jpeg(length):
    read_or_refuse(JPEG[:length])
