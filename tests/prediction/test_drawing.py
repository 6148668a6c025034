"""Drawn pictures: real pixels of real files. What was written is read as light pixels on the dark box."""

import base64
import itertools
import threading
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

import helpers
from modelscope_beit.errors import BeitError, SettingsError
from modelscope_beit.prediction.drawing import check_drawing_folder, draw_inscription, draw_predictions
from modelscope_beit.prediction.lettering import Inscription
from modelscope_beit.prediction.stream import Prediction

FONT = font_manager.findfont("DejaVu Sans")
LONG = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"
BOX = (28, 32, 38)


def drawn(picture: Image.Image, text: str = "cat", score: float = 0.931) -> np.ndarray:
    return np.asarray(draw_inscription(picture, Inscription(text, FONT), score))


def plain(size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", size, colour)


def box_of(pixels: np.ndarray) -> tuple[int, int]:
    """Returns the width and height of the box: its first row and column are bare."""
    is_box = (pixels == BOX).all(axis=2)
    return int(is_box[0].argmin()) or pixels.shape[1], int(is_box[:, 0].argmin()) or pixels.shape[0]


def luminance(colour: np.ndarray) -> np.ndarray:
    """Returns the relative luminance of sRGB, as WCAG 2.2 defines it."""
    linear = np.where(colour <= 10, colour / 255 / 12.92, ((colour / 255 + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (28, 32, 38), (128, 128, 128)])
@pytest.mark.parametrize("size", [(640, 427), (427, 640), (1600, 1200), (161, 120)])
def test_draw_inscription__keeps_size_and_pixels_and_can_be_read(
    size: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    pixels = drawn(plain(size, colour))
    assert pixels.shape == (size[1], size[0], 3)
    width, height = box_of(drawn(plain(size, (255, 255, 255))))
    outside = pixels.copy()
    outside[:height, :width] = colour
    assert (outside == colour).all(), "nothing but the box is painted over"
    box = pixels[:height, :width].astype(float)
    light, dark = luminance(box).max(), luminance(box).min()
    assert (light + 0.05) / (dark + 0.05) > 7, "WCAG's level AAA"
    rows = np.flatnonzero((luminance(box) > 0.5).any(axis=1))
    assert rows.max() - rows.min() >= 10, "figures of eleven pixels at least"


def test_draw_inscription__writes_the_text_and_the_probability() -> None:
    """The letters are those of Pillow, at the place and size that the picture's size gives: 427 / 20."""
    pixels = drawn(plain((640, 427), (255, 255, 255)), "cat", 0.931)
    width, height = box_of(pixels)
    expected = Image.new("RGB", (width, height), BOX)
    ImageDraw.Draw(expected).text((7, 7), "cat 93.1%", font=ImageFont.truetype(FONT, 21), fill=(255, 255, 255))
    assert (pixels[:height, :width] == np.asarray(expected)).all()


@pytest.mark.parametrize("side", [28, 32, 1])
def test_draw_inscription__enlarges_tiny_pictures_by_whole_pixels(side: int) -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels = drawn(Image.fromarray(tiny), "T-shirt/top")
    factor = 320 // side
    assert pixels.shape == (factor * side, factor * side, 3)
    _, height = box_of(pixels)
    expected = tiny.repeat(factor, axis=0).repeat(factor, axis=1)
    assert (pixels[height:] == expected[height:]).all()


@pytest.mark.parametrize(
    ("size", "expected"), [((3, 500), (160, 500)), ((2000, 4), (2000, 4 + 27)), ((90, 1), (270, 30))]
)
def test_draw_inscription__makes_room_on_narrow_and_flat_pictures(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    pixels = drawn(plain(size, (200, 0, 0)))
    assert pixels.shape[1] == expected[0] and abs(pixels.shape[0] - expected[1]) <= 3
    is_red = (pixels == (200, 0, 0)).all(axis=2)
    if size[1] < 100:
        assert is_red.sum() == size[0] * size[1] * (expected[0] // size[0]) ** 2, "not one pixel is covered"
    else:
        assert is_red.any(axis=1)[box_of(pixels)[1] :].all()


@pytest.mark.parametrize("width", [161, 320, 640, 2000])
def test_draw_inscription__cuts_the_name_and_never_the_probability(width: int) -> None:
    picture = plain((width, width), (255, 255, 255))
    long, longer = (drawn(picture, text) for text in (LONG, LONG * 2))
    box_width, height = box_of(long)
    assert box_width <= width
    # The end of the line, "... 93.1%", is the same where both are cut; another probability shows there.
    other = drawn(picture, LONG * 2, 0.257)
    assert (long.shape, box_of(longer)[1]) == (other.shape, height)
    changed = np.flatnonzero((longer != other).any(axis=(0, 2)))
    assert changed.min() > width / 4 and changed.max() < width - 1


def test_draw_inscription__leaves_the_picture_that_it_got_alone() -> None:
    picture = plain((300, 300), (9, 9, 9))
    drawn(picture)
    assert (np.asarray(picture) == 9).all()


def predictions_of(sources: Iterable[Any], error: str | None = None) -> Generator[Prediction, None, None]:
    for source in sources:
        yield Prediction(str(source), error=error) if error else Prediction(str(source), ("cat", "dog"), (0.9, 0.1))


def draw(sources: list[Any], folder: Path, workers: int = 2) -> list[Prediction]:
    return list(draw_predictions(predictions_of(sources), sources, folder, ["cat", "dog"], workers=workers))


def test_draw_predictions__names_are_unique_and_in_order(tmp_path: Path) -> None:
    sources = [tmp_path / name for name in ("a/cat.jpg", "b/cat.jpg", "b/cat.png", "b/a b%.webp", f"b/{'中' * 80}.bmp")]
    for path in sources:
        path.parent.mkdir(exist_ok=True)
        plain((200, 200), (200, 30, 30)).save(path)
    rows = draw(sources, tmp_path / "new" / "drawn")
    assert [row.source for row in rows] == [str(path) for path in sources]
    names = ["000001_cat.jpg", "000002_cat.jpg", "000003_cat.png", "000004_a_b_.jpg", f"000005_{'中' * 60}.jpg"]
    assert sorted(path.name for path in (tmp_path / "new" / "drawn").iterdir()) == names
    exact = np.asarray(Image.open(tmp_path / "new" / "drawn" / names[2]))
    assert (exact == drawn(plain((200, 200), (200, 30, 30)), "cat", 0.9)).all()


def test_draw_predictions__pictures_are_upright_and_their_sources_untouched(tmp_path: Path) -> None:
    picture = helpers.photographs()[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter, clockwise.
    source = tmp_path / "turned.jpg"
    picture.save(source, exif=exif, quality=95)
    content = source.read_bytes()
    draw([source], tmp_path / "drawn")
    shown = Image.open(tmp_path / "drawn" / "000001_turned.jpg")
    assert shown.size == (427, 640) and shown.getexif().get(0x0112, 1) == 1
    expected = np.asarray(picture.transpose(Image.Transpose.ROTATE_270)).astype(int)
    difference = np.abs(np.asarray(shown).astype(int) - expected)
    assert difference[60:].mean() < 6 < difference[:20, :60].mean()
    assert source.read_bytes() == content


def test_draw_predictions__errors_keep_their_row_and_are_not_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    broken = predictions_of(["x.jpg"], error="is empty")
    assert list(draw_predictions(broken, ["x.jpg"], folder, ["cat"], workers=1)) == [
        Prediction("x.jpg", error="is empty")
    ]
    (row,) = draw([tmp_path / "gone.jpg"], folder)
    assert (row.labels, row.scores) == ((), ())
    assert row.error == "cannot be read again, to be drawn: cannot be opened: No such file or directory."
    assert not list((tmp_path / "drawn").iterdir())


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data:image/png;base64,{}", "000001_picture.jpg"),
        ("file://{}/a%20cat.png", "000001_a_cat.png"),
    ],
)
def test_draw_predictions__urls_have_names_too(tmp_path: Path, source: str, name: str) -> None:
    plain((30, 30), (1, 2, 3)).save(tmp_path / "a cat.png")
    data = base64.b64encode((tmp_path / "a cat.png").read_bytes()).decode()
    (row,) = draw([source.format(data if source.startswith("data") else tmp_path)], tmp_path / "drawn")
    assert row.error is None
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == [name]


def test_draw_predictions__reads_few_pictures_ahead_of_whoever_takes_the_rows(tmp_path: Path) -> None:
    """Memory is flat: an endless stream is drawn as it is taken, and ends with its threads when it is closed."""
    plain((100, 100), (1, 2, 3)).save(tmp_path / "a.jpg")
    taken = itertools.count()
    closed = []

    def endless() -> Generator[Prediction, None, None]:
        try:
            while True:
                next(taken)
                yield Prediction(str(tmp_path / "a.jpg"), ("cat",), (1.0,))
        finally:
            closed.append(True)

    sources = itertools.repeat(tmp_path / "a.jpg")
    before = threading.active_count()
    rows = draw_predictions(endless(), sources, tmp_path / "drawn", ["cat"], workers=2)
    for _ in range(5):
        next(rows)
    rows.close()
    assert next(taken) <= 5 + 2
    assert closed and threading.active_count() == before


def test_draw_predictions__tells_which_file_cannot_be_written(tmp_path: Path) -> None:
    plain((100, 100), (1, 2, 3)).save(tmp_path / "a.jpg")
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "000001_a.jpg").write_text("somebody's")
    with pytest.raises(BeitError, match=r"000001_a\.jpg failed: .*exists"):
        draw([tmp_path / "a.jpg"], tmp_path / "drawn")
    assert (tmp_path / "drawn" / "000001_a.jpg").read_text() == "somebody's"


def test_check_drawing_folder__wants_a_new_or_empty_one_outside_of_the_sources(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "cats").mkdir(parents=True)
    (photos / "a.jpg").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(photos, target_is_directory=True)
    sources = [str(photos), str(photos / "a.jpg"), "-", "https://example.com/a.jpg"]
    for folder in ("empty", "new", "far/away"):
        check_drawing_folder(tmp_path / folder, sources)
    for folder, words in (
        ("photos/a.jpg", "that is a file"),
        ("photos", "not empty"),
        ("photos/cats", "outside of it"),
        ("link/new", "lies in"),
    ):
        with pytest.raises(SettingsError, match=words):
            check_drawing_folder(tmp_path / folder, sources)


def test_draw_predictions__of_no_class_says_unknown(tmp_path: Path) -> None:
    picture = helpers.photographs()[0]
    picture.save(tmp_path / "china.png")
    found = Prediction(str(tmp_path / "china.png"), ("temple",), (0.4,), is_unknown=True)
    unknown = Prediction(found.source, ("unknown",), (0.4,))
    for prediction, folder in ((found, "found"), (unknown, "expected")):
        list(draw_predictions((one for one in [prediction]), [found.source], tmp_path / folder, ["temple", "unknown"],
                              workers=1))  # fmt: skip
    one, other = (np.asarray(Image.open(tmp_path / folder / "000001_china.png")) for folder in ("found", "expected"))
    np.testing.assert_array_equal(one, other)
