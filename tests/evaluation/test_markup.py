"""Hostile text, read back by the parser of the standard library."""

from html.parser import HTMLParser

import pytest

from modelscope_beit.evaluation.markup import name, path, percent, shortened, text, width_of

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</bdi></td></table><!-- ",
    "&lt;b&gt; & &amp;",
    "中文, naïve",
]


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.words = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text__stays_text_in_an_element_and_in_an_attribute(hostile: str) -> None:
    element, attribute = Reader(f"<p>{text(hostile)}</p>"), Reader(f'<p title="{text(hostile)}">')
    assert (element.tags, element.words) == ([("p", [])], hostile)
    assert attribute.tags == [("p", [("title", hostile)])]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_name__is_one_element(hostile: str) -> None:
    reader = Reader(name(hostile))
    assert (reader.tags, reader.words) == ([("bdi", [])], hostile)


def test_path__may_break_after_its_folders_and_stays_text() -> None:
    reader = Reader(path("a/</bdi><b>/c.png"))
    assert reader.words == "a/</bdi><b>/c.png"
    assert [tag for tag, _ in reader.tags] == ["bdi", "wbr", "wbr", "wbr"]


def test_text__replaces_what_html_does_not_know() -> None:
    assert text("a\x00b\x1b[31m\udcffc\td") == "a\ufffdb\ufffd[31m\ufffdc\td"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("short", "short"), ("0123456789", "0123456789"), ("0123456789a", "012345678…"), ("中文中文中文", "中文中文…")],
)
def test_shortened__counts_what_is_seen(value: str, expected: str) -> None:
    assert shortened(value, 10) == expected


def test_width_of__counts_what_is_seen() -> None:
    assert (width_of("abc"), width_of("中文a")) == (3, 5)


def test_percent__rounds() -> None:
    assert (percent(0.88356, 2), percent(1.0), percent(0.5, 0)) == ("88.36%", "100.0%", "50%")
