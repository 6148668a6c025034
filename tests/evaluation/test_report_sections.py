"""The parts of the page: which rows they show, in which order, and what they say of the rest."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from modelscope_beit.evaluation import report_sections
from modelscope_beit.evaluation.confusion import count_confusions, most_confused_pairs
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report_content import Mistake, report_numbers

NAMES = ("ant", "bee", "cat", "dog")


def rows_of(markup: str, part: str = "tbody") -> list[list[str]]:
    """Returns the texts of the cells of a table."""
    (body,) = re.findall(f"<{part}>(.*?)</{part}>", markup, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row)] for row in rows]


def test_classes__are_shown_worst_first_with_averages(make_outcomes: Callable[..., Outcomes]) -> None:
    numbers = report_numbers(make_outcomes(200, NAMES))
    markup = report_sections.classes(numbers, NAMES)
    rows, foot = rows_of(markup), rows_of(markup, "tfoot")
    f1 = [float(row[4]) for row in rows]
    assert f1 == sorted(f1) and {row[0] for row in rows} == set(NAMES)
    assert sum(int(row[1]) for row in rows) == 200 == int(foot[0][1])
    assert [row[0] for row in foot] == ["mean over classes", "mean by support"]
    assert float(foot[0][4]) == pytest.approx(np.mean(f1), abs=0.06)
    recall_by_support = sum(int(row[1]) * float(row[3]) for row in rows) / 200
    assert float(foot[1][3]) == pytest.approx(recall_by_support, abs=0.06)


def test_classes__leave_out_those_that_never_occur(make_outcomes: Callable[..., Outcomes]) -> None:
    made_up = make_outcomes(50, NAMES)
    names = (*NAMES, "eel", "fox")
    outcomes = Outcomes(*list(vars(made_up).values())[:6], class_names=names)
    markup = report_sections.classes(report_numbers(outcomes), names)
    assert len(rows_of(markup)) == 4
    assert "2 classes have no picture and were never answered." in markup


def test_classes__of_too_many_shows_the_worst_and_says_so(
    make_outcomes: Callable[..., Outcomes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_sections, "MOST_ROWS", 3)
    markup = report_sections.classes(report_numbers(make_outcomes(200, NAMES)), NAMES)
    assert len(rows_of(markup)) == 3
    assert "The worst 3 of 4 classes are here, all of them in report.json." in markup


def test_frequent_mistakes__name_truth_and_answer() -> None:
    confusion = count_confusions(np.array([0, 0, 0, 1, 2]), np.array([1, 1, 0, 1, 3]), 4)
    markup = report_sections.frequent_mistakes(most_confused_pairs(confusion, 5), NAMES)
    assert rows_of(markup) == [["ant", "bee", "2", "66.7%"], ["cat", "dog", "1", "100.0%"]]


def test_matrix__without_a_mistake_among_many_classes_says_so() -> None:
    names = tuple(f"class {number}" for number in range(50))
    markup = report_sections.matrix(count_confusions(np.arange(50), np.arange(50), 50), names)
    assert markup == "<p>No picture was taken for one of another class.</p>"


def test_confident_mistakes__show_pixels_of_tiny_pictures_and_say_what_is_gone() -> None:
    pictures = ("data:image/png;base64,AA==", "data:image/jpeg;base64,AA==", None)
    mistakes = [Mistake("a.jpg", "ant", "bee", 0.987, 0.0123, picture) for picture in pictures]
    icon, photograph, gone = report_sections.confident_mistakes(mistakes).split("<figure>")[1:]
    assert '<img class="icon" src="data:image/png' in icon and '<img src="data:image/jpeg' in photograph
    assert "<img" not in gone and "can no longer be read" in gone
    assert "98.7%" in icon and "1.2%" in icon


def test_scores__tell_how_many_answers_reach_a_target() -> None:
    """A hundred pictures, the ten least sure ones wrong: the surest 90 are right, and 94 of 100 reach 95%."""
    scores = np.linspace(0.99, 0.5, 100).astype(np.float32)
    truths = np.where(np.arange(100) < 90, 0, 1)
    top = np.zeros((100, 2), np.int32)
    top[:, 1] = 1
    outcomes = Outcomes(
        np.arange(100), truths, top, np.stack([scores, 1 - scores], axis=1), scores, truths.astype(np.int32), NAMES[:2]
    )
    markup = report_sections.scores(report_numbers(outcomes))
    assert f"95% right: the surest 94.0% of the pictures, those with a score of at least {scores[93]:.3f}." in markup
    assert f"99% right: the surest 90.0% of the pictures, those with a score of at least {scores[89]:.3f}." in markup
    assert "Guo et al. 2017, 15 bins" in markup


def test_unreadable_pictures__beyond_a_page_are_counted() -> None:
    markup = report_sections.unreadable_pictures([(f"{number}.jpg", "is <empty>") for number in range(53)])
    assert len(rows_of(markup)) == 50
    assert "... and 3 more; all are in report.json." in markup
    assert "is &lt;empty&gt;" in markup
