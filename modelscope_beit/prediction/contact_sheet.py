"""Draws pictures and what was said of them on one sheet: a framed card per picture, green if right, red if wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

RIGHT = (22, 138, 86)
WRONG = (204, 51, 63)

_COLUMNS = 5
_CARD = (224, 292)
_GAP = 18
_MARGIN = 36
_HEADER = 96
_FOOTER = 44
_PICTURE = 196
_PAD = 14
_BADGE = 15  # radius
_INK, _FADED, _PAPER, _WHITE, _TRACK = (28, 32, 38), (112, 119, 129), (241, 242, 244), (255, 255, 255), (226, 229, 233)
# Everything is drawn this much larger and then reduced: PIL smooths text, but no circles and lines.
_FINE = 2


@dataclass(frozen=True)
class Answer:
    """One card of the sheet. score: probability of the label. truth: what the picture shows, spelt like the label."""

    picture: Image.Image
    label: str
    score: float
    truth: str

    @property
    def is_right(self) -> bool:
        """Whether the label is the truth."""
        return self.label == self.truth


def contact_sheet(answers: Sequence[Answer], *, title: str, subtitle: str, footer: str) -> Image.Image:
    """Returns an RGB picture with a card for each answer, five in a row, below a title and a subtitle of one line each.

    Small pictures are enlarged by whole pixels, so that the sheet shows what the network got.
    """
    rows = -(-len(answers) // _COLUMNS)
    width = 2 * _MARGIN + _COLUMNS * _CARD[0] + (_COLUMNS - 1) * _GAP
    height = _MARGIN + _HEADER + rows * (_CARD[1] + _GAP) + _FOOTER
    sheet = Image.new("RGB", (width * _FINE, height * _FINE), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN), title, 32, _INK)
    _write(draw, (_MARGIN, _MARGIN + 46), subtitle, 19, _FADED)
    for number, answer in enumerate(answers):
        row, column = divmod(number, _COLUMNS)
        corner = _MARGIN + column * (_CARD[0] + _GAP), _MARGIN + _HEADER + row * (_CARD[1] + _GAP)
        _draw_card(sheet, draw, corner, answer)
    _write(draw, (_MARGIN, height - _FOOTER + 4), footer, 15, _FADED)
    return sheet.reduce(_FINE)


def enlarged(picture: Image.Image, side: int) -> Image.Image:
    """Returns the picture as large as fits into a square by a whole factor, so that its pixels can still be seen."""
    factor = max(1, side // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Returns the text, cut with dots where it is wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _draw_card(sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], answer: Answer) -> None:
    left, top = corner
    right, bottom = left + _CARD[0], top + _CARD[1]
    colour = RIGHT if answer.is_right else WRONG
    draw.rounded_rectangle(_fine(left, top, right, bottom), 12 * _FINE, fill=_WHITE, outline=colour, width=3 * _FINE)
    thumbnail = _fitted(answer.picture, _PICTURE * _FINE)
    place = (left + _PAD + _PICTURE // 2) * _FINE, (top + _PAD + _PICTURE // 2) * _FINE
    sheet.paste(thumbnail, (place[0] - thumbnail.width // 2, place[1] - thumbnail.height // 2))
    _draw_mark(draw, (right - _PAD - _BADGE - 5, top + _PAD + _BADGE + 5), colour, answer.is_right)

    inner_left, inner_right = left + _PAD, right - _PAD
    line = top + _PAD + _PICTURE + 10
    percent = f"{answer.score:.0%}"
    taken = _font(18).getlength(percent) / _FINE
    _write(draw, (inner_left, line), _cut(answer.label, 18, inner_right - inner_left - taken - 8), 18, _INK)
    _write(draw, (round(inner_right - taken), line), percent, 18, colour)
    bar = line + 29
    draw.rounded_rectangle(_fine(inner_left, bar, inner_right, bar + 7), 3 * _FINE, fill=_TRACK)
    filled = max(7, round(answer.score * (inner_right - inner_left)))
    draw.rounded_rectangle(_fine(inner_left, bar, inner_left + filled, bar + 7), 3 * _FINE, fill=colour)
    truth = "right" if answer.is_right else _cut(f"wrong: it is {answer.truth}", 14, inner_right - inner_left)
    _write(draw, (inner_left, bar + 13), truth, 14, _FADED if answer.is_right else WRONG)


def _draw_mark(draw: ImageDraw.ImageDraw, centre: tuple[int, int], colour: tuple[int, int, int], tick: bool) -> None:
    """A tick or a cross on a disc: the sheet must be readable without telling green from red."""
    x, y = centre
    disc = _fine(x - _BADGE, y - _BADGE, x + _BADGE, y + _BADGE)
    draw.ellipse(disc, fill=colour, outline=_WHITE, width=2 * _FINE)
    strokes = [(-6, 0, -2, 5, 6, -5)] if tick else [(-5, -5, 5, 5), (-5, 5, 5, -5)]
    for stroke in strokes:
        points = [((x, y)[place % 2] + offset) * _FINE for place, offset in enumerate(stroke)]
        draw.line(points, fill=_WHITE, width=3 * _FINE, joint="curve")


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    """The picture as large as fits into a square: by a whole factor if it is smaller, else scaled down smoothly."""
    fitted = enlarged(picture.convert("RGB"), side)
    fitted.thumbnail((side, side), Image.Resampling.LANCZOS)
    return fitted


def _cut(text: str, size: int, width: float) -> str:
    return shortened(text, _font(size), width * _FINE)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: tuple[int, int, int]
) -> None:
    draw.text((place[0] * _FINE, place[1] * _FINE), text, font=_font(size), fill=colour)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with PIL: the sheet looks the same on every machine."""
    return ImageFont.load_default(size * _FINE)


def _fine(*numbers: int) -> list[int]:
    return [number * _FINE for number in numbers]
