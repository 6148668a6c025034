"""report.html as a browser shows it: nothing asked for, nothing refused, no window too narrow, headings that sort."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import browser
from browser import Browser
from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report import write_report

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING)

LONG = "great white shark, Carcharodon carcharias, " * 3
ROWS = "[...document.querySelector('table.sortable').tBodies[0].rows]"
HEADS = "[...document.querySelector('table.sortable').tHead.rows[0].cells]"
WIDTH_OF_ALL = "Math.max(...[...document.querySelectorAll('body, main, section')].map(part => part.scrollWidth))"


@pytest.fixture(scope="module")
def page_view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture
def report(make_outcomes: Callable[..., Outcomes], ten_images: list[Path], tmp_path: Path) -> Path:
    """Wrong answers with pictures, more classes than the matrix shows counts of, words and paths of any length."""
    names = (*(f"class {number}" for number in range(1, 41)), LONG, "x" * 120, "中文")
    outcomes = make_outcomes(900, names)
    records = Records(FilePictures([str(ten_images[row % 10]) for row in range(900)]), outcomes.labels.astype(np.int64),
                      names, description="made up")  # fmt: skip
    facts = {"Weights": "sha256:" + 64 * "0", "Command": "beit evaluate " + "a/" * 90}
    return write_report(
        tmp_path, outcomes, records, title="y" * 90, facts=facts, unreadable=[("/gone" * 40, "is gone")]
    )


@pytest.mark.parametrize("width", [400, 1400])
def test_report__is_shown_whole_and_asks_for_nothing(page_view: Browser, report: Path, width: int) -> None:
    page_view.requests.clear()
    page_view.problems.clear()
    page_view.open(report, width=width)
    assert page_view.evaluate("document.documentElement.scrollWidth") <= width
    assert page_view.evaluate(WIDTH_OF_ALL) <= width
    pictures = page_view.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert len(pictures) == 24 and all(pictures)
    assert {address.split(":")[0] for address in page_view.requests} == {"file", "data"}
    assert [address for address in page_view.requests if address.startswith("file:")] == [report.as_uri()]
    assert page_view.problems == []


def test_report__sorts_its_classes_where_one_clicks(page_view: Browser, report: Path) -> None:
    page_view.open(report, width=1400)
    seen = {}
    for column, times in ((1, 1), (1, 2), (0, 1)):
        page_view.click(f"{HEADS}[{column}].querySelector('button')")
        order = page_view.evaluate(f"{HEADS}[{column}].getAttribute('aria-sort')")
        seen[column, times] = (order, page_view.evaluate(f"{ROWS}.map(row => row.cells[{column}].textContent)"))
    counts = [int(count) for count in seen[1, 1][1]]
    assert len(counts) == 43 and sum(counts) == 900
    assert (seen[1, 1][0], counts) == ("descending", sorted(counts, reverse=True))
    assert (seen[1, 2][0], [int(count) for count in seen[1, 2][1]]) == ("ascending", sorted(counts))
    order, names = seen[0, 1]
    assert order == "ascending"
    assert [name for name in names if name.startswith("class")] == [f"class {number}" for number in range(1, 41)]


def test_report__is_dark_where_the_screen_is_and_whole_and_light_on_paper(page_view: Browser, report: Path) -> None:
    page_view.open(report, width=1400)
    shade = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))"
    heights = "((part) => [part.clientHeight, part.scrollHeight])(document.querySelector('.scrolls.tall'))"
    shown, whole = page_view.evaluate(heights)
    assert page_view.evaluate(shade) == 255 and shown < whole
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page_view.call("Emulation.setEmulatedMedia", media="screen", features=dark)
    assert page_view.evaluate(shade) < 60
    page_view.call("Emulation.setEmulatedMedia", media="print", features=dark)
    shown, whole = page_view.evaluate(heights)
    assert page_view.evaluate(shade) == 255 and shown == whole
    page_view.call("Emulation.setEmulatedMedia", media="", features=[])
