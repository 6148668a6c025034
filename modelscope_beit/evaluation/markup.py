"""Text on its way into HTML and SVG. Class names and paths are others' words: nothing of them may become markup."""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
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


def path(value: str) -> str:
    """Returns a path as name() does, with places between its folders where a narrow page may break the line."""
    return f"<bdi>{text(value).replace('/', '/<wbr>')}</bdi>"


def shortened(value: str, width: int) -> str:
    """Returns the value, not escaped, cut with an ellipsis where it is wider; a Chinese character counts as two."""
    widths = _widths(value)
    if sum(widths) <= width:
        return value
    kept = sum(1 for total in accumulate(widths) if total < width)
    return f"{value[:kept].rstrip()}…"


def width_of(value: str) -> int:
    """Returns how many Latin letters the value is about as wide as; a Chinese character counts as two."""
    return sum(_widths(value))


def _widths(value: str) -> list[int]:
    return [2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in value]


def percent(share: float, decimals: int = 1) -> str:
    """Returns a share, 0 to 1, in percent: 0.8836 is 88.4%."""
    return f"{share:.{decimals}%}"


def section(title: str, body: str) -> str:
    """Returns a part of a page: a heading, which is escaped, and markup."""
    return f"<section><h2>{text(title)}</h2>{body}</section>"


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: int,
    foot: Iterable[Sequence[str]] = (),
    kind: str = "",
) -> str:
    """Returns a table of cells that are markup already; the headings are escaped here.

    The first `words` columns hold words, the others numbers. kind: "sortable" for one whose headings sort.
    """
    classes = [""] * words + [' class="number"'] * (len(heads) - words)
    head = "".join(f'<th scope="col"{kind}>{text(title)}</th>' for kind, title in zip(classes, heads, strict=True))

    def lines(cells: Iterable[Sequence[str]]) -> str:
        return "\n".join(
            "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(classes, row, strict=True)) + "</tr>"
            for row in cells
        )

    end = f"<tfoot>{lines(foot)}</tfoot>" if foot else ""
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{lines(rows)}</tbody>{end}</table>'
