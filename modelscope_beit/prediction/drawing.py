"""Writes pictures with what the network says of them: the best class and its probability, in a box at the upper left.

A picture keeps its size and is upright. Only where a box of legible letters would not fit, there is more of it: small
pictures are enlarged by whole pixels, narrow ones get a margin, and on flat ones the box stands above the picture.
"""

import os
import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageDraw, ImageFont

from modelscope_beit.errors import BeitError, ImageError, SettingsError
from modelscope_beit.images.downloading import is_url
from modelscope_beit.images.reading import read_image
from modelscope_beit.names import UNKNOWN
from modelscope_beit.prediction.contact_sheet import enlarged, shortened
from modelscope_beit.prediction.lettering import Inscription, find_inscriptions
from modelscope_beit.prediction.look_ahead import map_ahead

if TYPE_CHECKING:
    # Only its name is needed, and it would bring torch: a wrong folder should be told at once.
    from modelscope_beit.prediction.stream import Prediction

_INK, _PAPER, _WHITE = (28, 32, 38), (241, 242, 244), (255, 255, 255)
_LEAST_WIDTH = 160
_ENLARGED = 2 * _LEAST_WIDTH  # pixels of the longer side that a small picture gets at most; at least half of that
_SMALLEST_LETTERS = 15
_LETTERS_PER_SIDE = 20  # of the shorter side of a picture
_BOXES_PER_PICTURE = 3  # heights of the box that a picture has at least, or it stands above
_JPEG_QUALITY = 95
_MOST_PIXELS_OF_JPEG = 65_500  # of a side, as libjpeg has it
_LONGEST_NAME = 60  # characters of up to four bytes; file systems allow 255 bytes


def check_drawing_folder(folder: Path, named: Iterable[str]) -> None:
    """Raises SettingsError unless the folder is new or empty, so that nothing is overwritten.

    named: the sources as the person gave them; the folder may not lie in one of them either, since the drawn pictures
    would be classified in their turn.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"The drawn pictures are to go to {folder}, but that is a file; name a new folder.")
    if folder.is_dir() and any(folder.iterdir()):
        raise SettingsError(
            f"The drawn pictures are to go to {folder}, but that folder is not empty; name a new one, so that nothing "
            "is overwritten."
        )
    for source in named:
        if os.path.isdir(source) and folder.resolve().is_relative_to(Path(source).resolve()):
            raise SettingsError(
                f"The drawn pictures are to go to {folder}, which lies in {source}, whose pictures are classified; "
                "name a folder outside of it."
            )


def draw_predictions(
    predictions: Generator["Prediction", None, None],
    sources: Iterable[Any],
    folder: Path,
    class_names: Sequence[str],
    *,
    workers: int,
) -> Generator["Prediction", None, None]:
    """Yields the predictions in their order, each when its picture has been drawn.

    sources: what was classified, in the same order. Each is read once more, so that no more than a picture per worker
    is in memory; if it cannot be (a URL that has gone), its row gets the error. One with an error is not drawn.
    folder: made if it is not there. Files are called by place in the stream and name: 000017_cat.jpg for the 17th.
    PNG files become PNG files, all others JPEG.
    class_names: of all classes; how they are written: lettering.py. A picture that is of none of them is inscribed
    "unknown", with the probability of the nearest class.
    workers: threads that draw, one picture each. Closing the iterator closes `predictions`.
    Raises BeitError if a file cannot be written.
    """
    inscriptions = find_inscriptions((*class_names, UNKNOWN))

    def draw(row: tuple[int, tuple["Prediction", Any]]) -> "Prediction":
        number, (prediction, source) = row
        if prediction.error is not None:
            return prediction
        try:
            picture = read_image(source)
        except ImageError as error:
            told = f"cannot be read again, to be drawn: {str(error).removeprefix(f'{prediction.source}: ')}"
            return replace(prediction, labels=(), scores=(), error=told, is_unknown=None)
        said = UNKNOWN if prediction.is_unknown else prediction.labels[0]
        drawn = draw_inscription(picture, inscriptions[said], prediction.scores[0])
        _write(drawn, folder, f"{number:06d}_{_stem(prediction.source)}", _is_png(prediction.source))
        return prediction

    with closing(predictions):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"The folder {folder} for the drawn pictures cannot be made: {error}.") from error
        rows = enumerate(zip(predictions, sources, strict=True), start=1)
        with closing(map_ahead(draw, rows, workers=workers, ahead=workers)) as drawn:
            yield from drawn


def draw_inscription(picture: Image.Image, inscription: Inscription, score: float) -> Image.Image:
    """Returns a copy of an RGB picture with a text and a probability in a dark box at its upper left.

    Letters are a twentieth of the shorter side, down to two thirds of that for a long text, but 15 pixels at least;
    what is still too long is cut with dots. The probability is always whole.
    """
    picture = enlarged(picture, _ENLARGED)
    width = max(picture.width, _LEAST_WIDTH)
    percent = f" {score:.1%}"
    size = max(_SMALLEST_LETTERS, min(picture.size) // _LETTERS_PER_SIDE)
    font = ImageFont.truetype(inscription.font_file, size)
    wanted = font.getlength(inscription.text + percent) + 2 * _padding(size)
    if wanted > width:
        size = max(_SMALLEST_LETTERS, size * 2 // 3, int(size * width / wanted))
        font = ImageFont.truetype(inscription.font_file, size)
    padding = _padding(size)
    text = shortened(inscription.text, font, width - 2 * padding - font.getlength(percent)) + percent
    box_width = min(width, round(font.getlength(text)) + 2 * padding)
    box_height = sum(font.getmetrics()) + 2 * padding
    above = 0 if picture.height >= _BOXES_PER_PICTURE * box_height else box_height
    drawn = Image.new("RGB", (width, picture.height + above), _PAPER)
    drawn.paste(picture, ((width - picture.width) // 2, above))
    draw = ImageDraw.Draw(drawn)
    draw.rectangle((0, 0, box_width - 1, box_height - 1), fill=_INK)
    draw.text((padding, padding), text, font=font, fill=_WHITE)
    return drawn


def _padding(size: int) -> int:
    return size // 3


def _is_png(source: str) -> bool:
    return source.lower().endswith(".png")


def _stem(source: str) -> str:
    """The name of a file or URL without its suffix, in letters that every file system takes."""
    if source.startswith("data:"):
        return "picture"
    path = unquote(urlsplit(source).path) if is_url(source) else source
    return re.sub(r"[^\w.-]+", "_", Path(path).stem)[:_LONGEST_NAME] or "picture"


def _write(picture: Image.Image, folder: Path, stem: str, as_png: bool) -> None:
    is_png = as_png or max(picture.size) > _MOST_PIXELS_OF_JPEG
    path = folder / f"{stem}{'.png' if is_png else '.jpg'}"
    try:
        with open(path, "xb") as file:
            picture.save(file, "PNG" if is_png else "JPEG", quality=_JPEG_QUALITY)
    except OSError as error:
        raise BeitError(f"Writing the drawn picture {path} failed: {error}.") from error
