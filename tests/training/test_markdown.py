"""Markdown as a renderer of CommonMark (markdown-it, which rich brings) shows it."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_beit.training.markdown import code_block, escaped, table, two_columns

ODD_NAMES = [
    "n01440764 tench, Tinca tinca",
    "a | b",
    "*stars* and __lines__",
    "`code` ``more``",
    "<script>alert(1)</script>",
    "[link](https://example.org) ![picture](x.png)",
    "back\\slash \\| end\\",
    "&amp; &lt; & done",
    "~~gone~~ # no heading",
    "中文 ümläut 🦊",
    "$x_1$ {{jinja}}",
    "two\nlines",
    "https://example.org www.example.org",
    "1. no list",
    "- no list",
    ":smile: @user #12",
]


class Cells(HTMLParser):
    """Collects the text of every cell, and every tag that is not one of a table's."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.strange_tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th"):
            self.cells.append("")
        elif tag not in ("table", "thead", "tbody", "tr"):
            self.strange_tags.append(tag)

    def handle_data(self, data):
        if self.cells and data.strip("\n"):
            self.cells[-1] += data


def rendered_cells(markdown: str) -> list[str]:
    markdown_it = pytest.importorskip("markdown_it", reason="rich brings it")
    cells = Cells()
    cells.feed(markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
    assert cells.strange_tags == []
    return cells.cells


@pytest.mark.parametrize("name", ODD_NAMES)
def test_table__shows_a_name_as_it_is(name):
    assert rendered_cells(table(["Class", "Count"], [(name, "5")])) == ["Class", "Count", " ".join(name.split()), "5"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Zs", "Zl", "Zp")), min_size=1))
def test_escaped__any_text(text):
    assert rendered_cells(table(["a"], [(text,)]))[1:] == [" ".join(text.split())]


def test_two_columns__names_and_values():
    assert rendered_cells(two_columns({"Seed": "0", "Loss": "a|b"})) == ["", "", "Seed", "0", "Loss", "a|b"]


def test_escaped__leaves_plain_text_alone():
    assert escaped("Resize size (248, -1), interpolation bicubic") == "Resize size (248, -1), interpolation bicubic"


@pytest.mark.parametrize("text", ["beit train a b --set 'x=[1]'", "a ``` b\n````\n<b>", "`"])
def test_code_block__shows_it_as_it_is(text):
    markdown_it = pytest.importorskip("markdown_it", reason="rich brings it")
    tokens = markdown_it.MarkdownIt("commonmark").parse(f"before\n\n{code_block(text)}\n\nafter")
    assert [token.content for token in tokens if token.type == "fence"] == [f"{text}\n"]
    assert [token.content for token in tokens if token.type == "inline"] == ["before", "after"]
