"""Which font writes which class name on pictures. Pillow and matplotlib."""

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

_logger = logging.getLogger(__name__)

# It comes with matplotlib, so it is the same on every machine: Latin, Greek, Cyrillic, Arabic and more, but no CJK.
_OWN_FONT = "DejaVu Sans"
# Fonts whose names say this are taken only where no plain one has the letters.
_NOT_PLAIN = ("black", "bold", "heavy", "italic", "light", "oblique", "thin")
# macOS's font of boxes, which has a box for everything.
_NO_LETTERS = "lastresort"
# The probability is in the same font, and the dots of a name that is too long.
_BESIDE_NAMES = "0123456789.% "
_EXAMPLES = 3


@dataclass(frozen=True)
class Inscription:
    """What is written for a class: a text of one line, and the file of a font that has all its letters."""

    text: str
    font_file: str


def find_inscriptions(class_names: Sequence[str]) -> dict[str, Inscription]:
    """Returns the inscription of each class name: the name itself, or "class 7" where no font here can write it.

    Names that matplotlib's font lacks letters for, such as Chinese ones, are written in fonts that are installed on
    this machine. What none of them has is told once, as a warning.
    """
    own = str(font_manager.findfont(_OWN_FONT))
    numbered = {name: number for number, name in reversed(list(enumerate(class_names)))}
    texts = {name: " ".join(unicodedata.normalize("NFC", name).split()) for name in numbered}
    found = {name: Inscription(f"class {number}", own) for name, number in numbered.items()}
    left = {name for name, text in texts.items() if text}
    for file in (own, *_plain_first(font_manager.findSystemFonts())):
        if not left:
            break
        letters = _letters(file)
        written = {name for name in left if letters.issuperset(map(ord, texts[name] + _BESIDE_NAMES))}
        found |= {name: Inscription(texts[name], file) for name in written}
        left -= written
    if left:
        examples = sorted(left, key=numbered.__getitem__)[:_EXAMPLES]
        _logger.warning(
            "No font on this machine can write %d of the %d class names (%s); pictures get their numbers instead, as "
            "in %r. For the names, install a font that has their letters, e.g. Noto Sans CJK.",
            len(left),
            len(numbered),
            ", ".join(map(repr, examples)) + (", ..." if len(left) > _EXAMPLES else ""),
            found[examples[0]].text,
        )
    return found


def _plain_first(files: list[str]) -> list[str]:
    def is_decorated(file: str) -> bool:
        return any(word in Path(file).name.lower() for word in _NOT_PLAIN)

    return sorted(
        (file for file in files if _NO_LETTERS not in Path(file).name.lower()),
        key=lambda file: (is_decorated(file), file),
    )


def _letters(file: str) -> frozenset[int]:
    """The code points that a font has; none of one that Pillow cannot scale, as bitmaps, or that is broken."""
    try:
        ImageFont.truetype(file, 20)
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
