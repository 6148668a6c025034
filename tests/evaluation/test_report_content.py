"""The numbers of a report, beside scikit-learn's and counting by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics

from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report_content import report_numbers

TEN = tuple("abcdefghij")


def test_report_numbers__equal_sklearn(make_outcomes: Callable[..., Outcomes]) -> None:
    outcomes = make_outcomes(700, TEN)
    numbers = report_numbers(outcomes)
    best = outcomes.top_classes[:, 0]
    assert numbers.pictures == 700
    assert numbers.shares["accuracy_top-1"].value == pytest.approx(
        sklearn.metrics.accuracy_score(outcomes.labels, best)
    )
    among_five = np.mean([label in row for label, row in zip(outcomes.labels, outcomes.top_classes, strict=True)])
    assert numbers.shares["accuracy_top-5"].value == pytest.approx(among_five)
    assert numbers.confusion is not None
    np.testing.assert_array_equal(
        numbers.confusion.block(np.arange(10)), sklearn.metrics.confusion_matrix(outcomes.labels, best)
    )
    expected = sklearn.metrics.precision_recall_fscore_support(outcomes.labels, best)
    for ours, theirs in zip(
        (numbers.figures.precision, numbers.figures.recall, numbers.figures.f1, numbers.figures.support),
        expected,
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs)


def test_report_numbers__mistakes_are_the_surest_wrong_answers(make_outcomes: Callable[..., Outcomes]) -> None:
    outcomes = make_outcomes(700, TEN)
    mistakes = report_numbers(outcomes).mistakes
    is_wrong = outcomes.top_classes[:, 0] != outcomes.labels
    scores = outcomes.top_scores[mistakes, 0]
    assert len(mistakes) == 24 and is_wrong[mistakes].all()
    assert (np.diff(scores) <= 0).all()
    assert np.delete(np.where(is_wrong, outcomes.top_scores[:, 0], 0), mistakes).max() <= scores[-1]


@pytest.mark.parametrize("num_classes", [2, 5])
def test_report_numbers__leave_out_a_top_5_that_is_always_right(
    make_outcomes: Callable[..., Outcomes], num_classes: int
) -> None:
    assert list(report_numbers(make_outcomes(50, TEN[:num_classes])).shares) == ["accuracy_top-1"]


def test_report_numbers__of_perfect_answers(make_outcomes: Callable[..., Outcomes]) -> None:
    numbers = report_numbers(make_outcomes(30, TEN, strength=50.0))
    assert numbers.shares["accuracy_top-1"].value == 1.0
    assert (numbers.pairs, numbers.mistakes.tolist()) == ([], [])


def test_report_numbers__of_several_labels_a_picture(multi_label_outcomes: Outcomes) -> None:
    numbers = report_numbers(multi_label_outcomes)
    assert numbers.confusion is None and numbers.pairs == []
    assert numbers.shares["best_class_is_a_label"].value == 0.5
    assert numbers.mistakes.tolist() == [1, 2]
    is_true, is_said = multi_label_outcomes.labels == 1, multi_label_outcomes.scores >= 0.5  # type: ignore[operator]
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(is_true, is_said, zero_division=0)
    for ours, theirs in zip(
        (numbers.figures.precision, numbers.figures.recall, numbers.figures.f1, numbers.figures.support),
        (precision, recall, f1, support),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs)
