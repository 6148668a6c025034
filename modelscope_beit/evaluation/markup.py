"""Text on its way into HTML and SVG. Class names and paths are others' words: nothing of them may become markup."""

import html
import re
import unicodedata
from itertools import accumulate

# Control characters are errors in HTML; tab and line feed are not.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def text(value: object) -> str:
    """Returns the value's text with everything escaped that HTML reads, for an element or a quoted attribute.

    Control characters, and bytes of a file name that were no UTF-8, become the replacement character.
    """
    return html.escape(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def name(value: str) -> str:
    """Returns a class name or path as an element of its own direction, so that it cannot turn around what follows."""
    return f"<bdi>{text(value)}</bdi>"


def shortened(value: str, width: int) -> str:
    """Returns the value, not escaped, cut with an ellipsis where it is wider; a Chinese character counts as two."""
    widths = [2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in value]
    if sum(widths) <= width:
        return value
    kept = sum(1 for total in accumulate(widths) if total < width)
    return f"{value[:kept].rstrip()}…"


def percent(share: float, decimals: int = 1) -> str:
    """Returns a share, 0 to 1, in percent: 0.8836 is 88.4%."""
    return f"{share:.{decimals}%}"
