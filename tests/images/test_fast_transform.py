"""The exact road is the oracle, on photographs: how far the fast one may be off is what it promises."""

import io
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import ExifTags, Image
from sklearn.datasets import load_sample_image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.fast_transform import FastTransform
from modelscope_beit.images.reading import FULL_SIZE, read_image
from modelscope_beit.settings.preprocessing import (
    CenterCrop,
    Collect,
    ImageToTensor,
    LoadImageFromFile,
    Normalize,
    Pad,
    Resize,
    evaluation_steps,
)

NAMES = ("china.jpg", "flower.jpg")
PHOTOGRAPHS = {name: Image.fromarray(load_sample_image(name)) for name in NAMES}
AS_THEY_ARE = Normalize((0, 0, 0), (1, 1, 1))
PILLOW = Resize((256, -1), "bicubic", backend="pillow")
CROP = CenterCrop(224)
STEPS = (LoadImageFromFile(), PILLOW, CROP, AS_THEY_ARE, ImageToTensor(), Collect())
# For these a picture is large much sooner.
SMALL_STEPS = (Resize((64, -1), "bicubic", backend="pillow"), CenterCrop(56), AS_THEY_ARE, ImageToTensor())


def encoded(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def photograph(name: str, size: tuple[int, int], **options) -> bytes:
    return encoded(PHOTOGRAPHS[name].resize(size, Image.Resampling.LANCZOS), **({"quality": 90} | options))


def differences(content: bytes, steps=STEPS) -> np.ndarray:
    """Absolute differences of all values, in levels of 255."""
    fast = FastTransform(steps)
    exact = EvaluationTransform(steps)(read_image(content))
    found = fast(fast.read(content))
    assert found.shape == exact.shape
    return (found - exact).abs().numpy()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"quality": 75}, {"quality": 95, "subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (641, 427), (1024, 768), (200, 150)], ids=str)
def test_transform__within_a_level_of_photographs(name, size, options):
    difference = differences(photograph(name, size, **options))
    assert difference.mean() < 0.01
    assert np.percentile(difference, 99.9) <= 1
    assert difference.max() <= 2


def mosaic(width: int, height: int) -> Image.Image:
    """The photographs side by side, mirrored, at their own size: a large picture that is sharp to the pixel."""
    china, flower = (np.asarray(PHOTOGRAPHS[name]) for name in NAMES)
    tile = np.hstack([china, flower, china[:, ::-1], flower[::-1]])
    tile = np.vstack([tile, tile[::-1]])
    return Image.fromarray(np.tile(tile, (height // len(tile) + 1, width // tile.shape[1] + 1, 1))[:height, :width])


@pytest.mark.parametrize("size", [(3415, 2561), (2561, 3415), (4000, 3000)], ids=str)
def test_transform__within_a_level_of_large_photographs(size):
    content = encoded(mosaic(*size), quality=90)
    picture = FastTransform(STEPS).read(content)
    assert picture.size == tuple(-(-side // 2) for side in size)
    assert picture.info[FULL_SIZE] == size
    difference = differences(content)
    assert difference.mean() < 0.3
    assert np.percentile(difference, 99) <= 1
    assert difference.max() <= 8


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_transform__other_sides_and_filters(crop_pct, interpolation):
    steps = evaluation_steps(
        96, mean=[0.0] * 3, std=[1.0] * 3, crop_pct=crop_pct, interpolation=interpolation, squash=crop_pct == 1.0
    )
    difference = differences(photograph("china.jpg", (1001, 750)), steps)
    assert difference.mean() < 0.2
    assert np.percentile(difference, 99.9) <= 1


def test_transform__backend_torchvision_is_equal():
    steps = [Resize((256, -1), "bicubic", backend="torchvision"), CROP, AS_THEY_ARE, ImageToTensor()]
    assert differences(photograph("china.jpg", (500, 375)), steps).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(500, 375), (900, 676), (900, 675)], ids=str)
def test_transform__upright(orientation, size):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = photograph("china.jpg", size, exif=exif)
    picture = FastTransform(SMALL_STEPS).read(content)
    upright = size if orientation < 5 else size[::-1]
    assert picture.info.get(FULL_SIZE, picture.size) == upright
    # Where the last row is half beyond the picture, turning would put it first.
    assert (picture.size != upright) == (size == (900, 676) or (size == (900, 675) and orientation == 1))
    assert differences(content, SMALL_STEPS).mean() < 0.3


LARGE = PHOTOGRAPHS["flower.jpg"].resize((960, 641))


@pytest.mark.parametrize(
    ("content", "is_smaller"),
    [
        (encoded(LARGE.convert("CMYK")), True),
        (encoded(LARGE.convert("L")), True),
        (encoded(LARGE, "MPO", save_all=True, append_images=[LARGE.transpose(Image.Transpose.ROTATE_180)]), True),
        (encoded(LARGE.convert("L"), "PNG", compress_level=0), False),
        (encoded(LARGE.quantize(200), "PNG"), False),
        (encoded(LARGE, "WEBP"), False),
        (encoded(LARGE.convert("LA"), "PNG"), False),
        (encoded(LARGE.convert("I;16"), "PNG"), False),
    ],
    ids=["CMYK", "grey", "MPO", "grey PNG", "palette", "WebP", "alpha", "16 bits"],
)
def test_transform__kinds_of_pictures(content, is_smaller):
    picture = FastTransform(SMALL_STEPS).read(content)
    assert picture.mode == "RGB"
    assert (FULL_SIZE in picture.info) == is_smaller
    difference = differences(content, SMALL_STEPS)
    assert difference.mean() < 0.3
    assert np.percentile(difference, 99) <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (300, 2), (256, 256), (256, 300), (37, 53)], ids=str)
def test_transform__any_size(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    # Enlarged or as it is, even noise is as it should be.
    assert differences(encoded(Image.fromarray(noise), "PNG")).max() <= 2


@pytest.mark.parametrize("to_rgb", [True, False])
@pytest.mark.parametrize(
    "later",
    [
        [CROP],
        [Pad(pad_to_square=True, pad_val=(10.0, 300.0, -1.0))],
        [],
    ],
    ids=["crop", "pad", "nothing"],
)
def test_transform__bytes_are_what_is_normalized(later, to_rgb):
    normalize = Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), to_rgb)
    steps = [PILLOW, *later, normalize, ImageToTensor()]
    picture = read_image(photograph("china.jpg", (500, 375)))
    bytes_, normalized = FastTransform(steps, as_bytes=True)(picture), FastTransform(steps)(picture)
    assert bytes_.dtype == torch.uint8 and normalized.dtype == torch.float32
    assert bytes_.is_contiguous() and normalized.is_contiguous()
    mean, std = (torch.tensor(values)[:, None, None] for values in (normalize.mean, normalize.std))
    torch.testing.assert_close((bytes_ - mean) / std, normalized, atol=1e-5, rtol=0)
    exact = EvaluationTransform(steps)(picture)
    assert ((exact - normalized).abs() * std).max() <= 2.01


def test_transform__crop_after_normalize():
    steps = [PILLOW, AS_THEY_ARE, CROP, ImageToTensor()]
    assert differences(photograph("china.jpg", (500, 375)), steps).max() <= 2


@pytest.mark.parametrize(
    ("steps", "cause"),
    [
        ([Resize((256, -1))], "backend cv2 with bilinear"),
        ([Resize((256, -1), "lanczos", backend="pillow"), CROP], "with lanczos"),
        ([CROP, PILLOW], "does not begin with Resize"),
        ([CROP], "does not begin with Resize"),
        ([PILLOW, CenterCrop(224, efficientnet_style=True)], "resizes a second time"),
        ([PILLOW, PILLOW], "resizes a second time"),
    ],
)
def test_transform__steps_without_a_fast_way(steps, cause):
    with pytest.raises(SettingsError, match=cause):
        FastTransform([*steps, AS_THEY_ARE, ImageToTensor()])


def test_transform__padding_of_normalized_values():
    with pytest.raises(SettingsError, match="pads after Normalize"):
        FastTransform([PILLOW, AS_THEY_ARE, Pad(pad_to_square=True), ImageToTensor()])


def test_transform__truncated_large_jpeg():
    content = photograph("china.jpg", (900, 675))
    with pytest.raises(ImageError, match="truncated"):
        FastTransform(SMALL_STEPS).read(content[: len(content) // 2])


def test_transform__extreme_shape():
    transform = FastTransform([Resize((224, -1), "bicubic", "long", "pillow"), AS_THEY_ARE, ImageToTensor()])
    with pytest.raises(ImageError, match="2000x2 pixels would become"):
        transform.read(encoded(Image.new("RGB", (2000, 2))))
    with pytest.raises(ImageError, match="2000x2 pixels would become"):
        transform(Image.new("RGB", (2000, 2)))


def test_transform__picture_of_another_mode():
    with pytest.raises(ImageError, match="mode L"):
        FastTransform(STEPS)(Image.new("L", (4, 4)))


def test_transform__goes_to_worker_processes():
    transform, picture = FastTransform(STEPS), PHOTOGRAPHS["china.jpg"]
    assert torch.equal(pickle.loads(pickle.dumps(transform))(picture), transform(picture))


def test_transform__copies_nothing_where_it_can(monkeypatch):
    """Bits over Pillow's memory are those of a copy, which is made of pictures that Pillow keeps in pieces."""
    picture = read_image(photograph("china.jpg", (500, 375)))
    before = picture.tobytes()
    transform = FastTransform(STEPS, as_bytes=True)
    shared = transform(picture)
    assert picture.tobytes() == before

    def in_pieces(picture: Image.Image, *arguments: object) -> None:
        raise ValueError("Image is in multiple array blocks, use ImagingNewBlock for zero copy")

    monkeypatch.setattr(Image.Image, "__arrow_c_array__", in_pieces)
    assert torch.equal(transform(picture), shared)
    monkeypatch.delattr(Image.Image, "__arrow_c_array__")
    assert torch.equal(transform(picture), shared)


def test_transform__picture_that_pillow_keeps_in_pieces():
    steps = [Resize((512, -1), "bicubic", backend="pillow"), AS_THEY_ARE, ImageToTensor()]
    assert differences(encoded(mosaic(2400, 2200), "JPEG"), steps).max() <= 2


def test_read__leaves_pillow_pictures_alone():
    picture = Image.open(io.BytesIO(photograph("china.jpg", (900, 675))))
    assert FastTransform(SMALL_STEPS).read(picture) is picture
    assert picture.size == (900, 675)


def test_read__everything_that_is_not_too_large_as_it_is():
    content = photograph("china.jpg", (1024, 768))
    assert_array_equal(np.asarray(FastTransform(STEPS).read(content)), np.asarray(read_image(content)))
