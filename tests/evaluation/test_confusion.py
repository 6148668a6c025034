"""Counts and figures per class, beside scikit-learn's."""

import numpy as np
import pytest
import sklearn.metrics

from modelscope_beit.evaluation.confusion import (
    ConfusedPair,
    class_figures,
    count_confusions,
    most_confused_classes,
    most_confused_pairs,
)


def made_up(pictures: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truths and predictions that agree more often than not; the last class never occurs, in neither."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, num_classes - 1, pictures)
    other = rng.integers(0, num_classes - 1, pictures).astype(np.int32)
    return truths, np.where(rng.random(pictures) < 0.6, truths, other).astype(np.int32)


@pytest.mark.parametrize(("pictures", "num_classes"), [(500, 7), (60, 30), (1, 2)])
def test_count_confusions__equals_sklearn(pictures: int, num_classes: int) -> None:
    truths, predictions = made_up(pictures, num_classes)
    confusion = count_confusions(truths, predictions, num_classes)
    expected = sklearn.metrics.confusion_matrix(truths, predictions, labels=range(num_classes))
    np.testing.assert_array_equal(confusion.block(np.arange(num_classes)), expected)
    np.testing.assert_array_equal(confusion.support, expected.sum(axis=1))
    np.testing.assert_array_equal(confusion.predicted, expected.sum(axis=0))
    np.testing.assert_array_equal(confusion.right, expected.diagonal())


@pytest.mark.parametrize(("pictures", "num_classes"), [(500, 7), (60, 30)])
def test_class_figures__equal_sklearn(pictures: int, num_classes: int) -> None:
    truths, predictions = made_up(pictures, num_classes)
    confusion = count_confusions(truths, predictions, num_classes)
    found = class_figures(confusion.right, confusion.predicted, confusion.support)
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        truths, predictions, labels=range(num_classes), zero_division=0
    )
    np.testing.assert_allclose(found.precision, precision, rtol=1e-12)
    np.testing.assert_allclose(found.recall, recall, rtol=1e-12)
    np.testing.assert_allclose(found.f1, f1, rtol=1e-12)


@pytest.mark.parametrize(("title", "average"), [("mean over classes", "macro"), ("mean by support", "weighted")])
def test_averages__equal_sklearn_over_the_classes_that_are_there(title: str, average: str) -> None:
    truths, predictions = made_up(500, 7)
    confusion = count_confusions(truths, predictions, 7)
    found = class_figures(confusion.right, confusion.predicted, confusion.support)
    expected = sklearn.metrics.precision_recall_fscore_support(
        truths, predictions, labels=np.unique(truths), average=average, zero_division=0
    )
    assert found.averages()[title] == pytest.approx(expected[:3], rel=1e-12)


def test_averages__of_no_class_are_none() -> None:
    nothing = np.zeros(3, np.int64)
    assert class_figures(nothing, nothing, nothing).averages() == {}


def test_block__has_the_cells_in_the_order_asked_for() -> None:
    truths, predictions = made_up(500, 9)
    expected = sklearn.metrics.confusion_matrix(truths, predictions, labels=[5, 0, 7])
    np.testing.assert_array_equal(count_confusions(truths, predictions, 9).block(np.array([5, 0, 7])), expected)


def test_count_confusions__needs_no_matrix_of_all_classes() -> None:
    """21,841 classes squared would be 3.8 GB."""
    truths, predictions = made_up(1000, 21_841)
    confusion = count_confusions(truths, predictions, 21_841)
    assert confusion.counts.sum() == 1000
    assert confusion.counts.size <= 1000


def test_most_confused_pairs__go_by_count_then_share() -> None:
    truths = np.array([0] * 10 + [1] * 4 + [2] * 3)
    predictions = np.array([0] * 8 + [1, 1] + [1, 1, 0, 0] + [2, 2, 0])
    pairs = most_confused_pairs(count_confusions(truths, predictions, 3), limit=3)
    assert pairs == [ConfusedPair(1, 0, 2, 0.5), ConfusedPair(0, 1, 2, 0.2), ConfusedPair(2, 0, 1, 1 / 3)]


def test_most_confused_pairs__of_a_perfect_answer_are_none() -> None:
    perfect = count_confusions(np.arange(5), np.arange(5), 5)
    assert most_confused_pairs(perfect, limit=10) == []
    assert most_confused_classes(perfect, limit=10).tolist() == []


def test_most_confused_classes__stand_beside_whom_they_are_taken_for() -> None:
    truths = np.array([4, 4, 1, 1, 6, 6, 0, 2])
    predictions = np.array([1, 1, 4, 1, 3, 6, 0, 6])
    confusion = count_confusions(truths, predictions, 8)
    assert most_confused_classes(confusion, limit=8).tolist() == [1, 4, 2, 6, 3]
    assert most_confused_classes(confusion, limit=2).tolist() == [1, 4]
    assert most_confused_classes(confusion, limit=3).tolist() == [1, 4]
