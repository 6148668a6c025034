"""Texts of people as parts of a Markdown document, so that they look as they are. Markdown: CommonMark with tables."""

import re
from collections.abc import Iterable, Mapping, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>~#|$&!])")


def escaped(text: str) -> str:
    """Returns a text of one line that a Markdown reader shows as it is, also in a cell of a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; all its texts are escaped."""
    lines = [header, ["---"] * len(header), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def two_columns(rows: Mapping[str, str]) -> str:
    """Returns a table of names and values, without a header."""
    return table(["", ""], rows.items())


def code_block(text: str, language: str = "") -> str:
    """Returns a block that shows the text as it is; its fence is longer than any run of backticks inside.

    language: e.g. "python", for a reader that colours it.
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
