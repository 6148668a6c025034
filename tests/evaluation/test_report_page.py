"""The page as a parser reads it: balanced, self-contained, nothing of others' words taken for markup."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

import browser
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report_content import Mistake, ReportContent, report_numbers
from modelscope_beit.evaluation.report_page import report_page

VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}
HOSTILE = (
    "<script>document.title = 'taken'</script>",
    '"><img src="https://example.com/x.png" onerror="alert(1)">',
    "</title></style></td></table></main>",
    "{style} {body} %s",
    "--><b onclick='alert(1)'>",
    "</script><script>alert(1)</script>",
    "\u202ereversed & \x00 null",
)


class Page(HTMLParser):
    """Checks that tags are balanced and collects elements, attributes and text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        self.inside.setdefault(self.open[-1] if self.open else "", []).append(data)


@pytest.fixture
def hostile_page(make_outcomes: Callable[..., Outcomes]) -> str:
    numbers = report_numbers(make_outcomes(300, HOSTILE))
    pictures = ["data:image/jpeg;base64,AA==", "data:image/png;base64,AA==", None, "data:image/png;base64,AA==", None]
    mistakes = [
        Mistake(HOSTILE[place], HOSTILE[place + 1], HOSTILE[place + 2], 0.93, 0.02, picture)
        for place, picture in enumerate(pictures)
    ]
    facts = {HOSTILE[0]: HOSTILE[1], "command": HOSTILE[2]}
    content = ReportContent(HOSTILE[5], facts, HOSTILE, numbers, mistakes, {"mAP": 12.5}, [(HOSTILE[0], HOSTILE[1])])
    return report_page(content)


def test_report_page__takes_nobodys_words_for_markup(hostile_page: str) -> None:
    page = Page(hostile_page)
    assert (page.tags.count("script"), page.tags.count("style"), page.tags.count("img")) == (1, 1, 3)
    assert page.tags.count("b") == page.attributes.count(("class", "card"))
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    everything = "".join(page.texts)
    for words in HOSTILE[:6]:
        assert words in everything
    assert "\x00" not in hostile_page


def test_report_page__asks_nobody_for_anything(hostile_page: str) -> None:
    page = Page(hostile_page)
    addresses = [
        value for key, value in page.attributes if key in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert addresses and all(address.startswith("data:image/") for address in addresses)
    assert not {"link", "iframe", "object", "embed", "base", "form", "video", "audio"} & set(page.tags)
    assert not [value for key, value in page.attributes if key == "style"]


def test_report_page__allows_its_own_style_and_script_only(hostile_page: str) -> None:
    page = Page(hostile_page)
    (policy,) = [value for key, value in page.attributes if key == "content" and "default-src" in value]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        (source,) = page.inside[tag]
        assert rules[kind] == f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def test_report_page__tells_the_headline_and_what_is_missing(make_outcomes: Callable[..., Outcomes]) -> None:
    names = tuple(f"class {number}" for number in range(12))
    outcomes = make_outcomes(400, names)
    numbers = report_numbers(outcomes)
    source = report_page(ReportContent("Title", {}, names, numbers, [], {}, [("broken.jpg", "is empty (0 bytes).")]))
    words = " ".join("".join(Page(source).texts).split())
    right = int((outcomes.top_classes[:, 0] == outcomes.labels).sum())
    assert f"top-1 accuracy{right / 4:.2f}%" in words and "top-5 accuracy" in words
    interval = numbers.shares["accuracy_top-1"]
    assert f"{interval.low:.2%} to {interval.high:.2%}" in words
    assert "400 pictures, 12 classes" in words and "10,000 resamples" in words
    assert "Pictures that could not be read: 1." in words and "broken.jpg" in words and "is empty (0 bytes)." in words


def test_report_page__of_many_classes_shows_the_confused_ones_and_says_so(
    make_outcomes: Callable[..., Outcomes],
) -> None:
    names = tuple(f"class {number}" for number in range(60))
    source = report_page(ReportContent("Title", {}, names, report_numbers(make_outcomes(900, names)), [], {}, []))
    assert "The 40 of 60 classes that are taken for each other most often." in source
    assert len(re.findall(r'<text class="label"[^>]*>class', source)) == 80


def test_report_page__of_perfect_answers_says_what_they_prove(make_outcomes: Callable[..., Outcomes]) -> None:
    names = tuple("abcdefg")
    numbers = report_numbers(make_outcomes(59, names, strength=50.0))
    words = "".join(Page(report_page(ReportContent("Title", {}, names, numbers, [], {}, []))).texts)
    assert "top-1 accuracy100.00%all 59 alike; of others, up to 5.0% may not be" in words
    assert "There are none." in words


def test_report_page__of_several_labels_has_no_confusion_matrix(multi_label_outcomes: Outcomes) -> None:
    names = multi_label_outcomes.class_names
    numbers = report_numbers(multi_label_outcomes)
    words = "".join(Page(report_page(ReportContent("Title", {}, names, numbers, [], {"mAP": 87.5}, []))).texts)
    assert "Confusion matrix" not in words
    assert "best class is a label50.00%" in words and "mAP87.50" in words
    assert "a score of 0.5 and more counting as yes" in words


@pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING)
def test_report_page__opens_in_a_browser(hostile_page: str, tmp_path: Path) -> None:
    """The script has run, so its digest is right: the headings are buttons. Nothing was refused, nothing injected."""
    (tmp_path / "report.html").write_text(hostile_page, encoding="utf-8")
    (tmp_path / "profile").mkdir()
    shown = browser.Browser(tmp_path / "profile")
    try:
        shown.open(tmp_path / "report.html", width=1400)
        assert shown.evaluate("document.querySelectorAll('button').length") == 5
        assert shown.evaluate("document.title") == HOSTILE[5]
        assert shown.problems == []
        assert {address.split(":")[0] for address in shown.requests} <= {"file", "data"}
    finally:
        shown.close()
