import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from modelscope_beit.evaluation.multi_label_metrics import average_performance, mean_average_precision

NAMES = ("CP", "CR", "CF1", "OP", "OR", "OF1")


def made_up(seed, n=40, k=6, *, doubtful=True):
    rng = np.random.default_rng(seed)
    scores = rng.random((n, k)).astype(np.float32)
    labels = (rng.random((n, k)) < scores * 0.6).astype(np.int8)
    if doubtful:
        labels[rng.random((n, k)) < 0.1] = -1
    return scores, labels


@pytest.mark.openmmlab
@pytest.mark.filterwarnings("ignore:Both thr and k are given")
@given(st.integers(0, 1000), st.sampled_from([1, 2, 40]), st.sampled_from([1, 6]))
def test_metrics__are_those_of_mmcls(seed, n, k):
    evaluation = pytest.importorskip("mmcls.core.evaluation", reason="the oracle comes with the extra openmmlab")
    scores, labels = made_up(seed, n, k)
    assert mean_average_precision(scores, labels) == pytest.approx(evaluation.mAP(scores, labels), abs=1e-9)
    for options in ({"thr": 0.5}, {"thr": 0.9}, {"k": 1}, {"k": 3}, {"thr": 0.2, "k": 3}):
        ours = average_performance(scores, labels, threshold=options.get("thr"), k=options.get("k"))
        # mmcls overwrites its labels.
        theirs = evaluation.average_performance(scores, labels.copy(), **options)
        assert tuple(ours) == NAMES
        assert tuple(ours.values()) == pytest.approx(theirs, abs=1e-9)


def test_average_performance__changes_no_labels():
    scores, labels = made_up(0)
    before = labels.copy()
    average_performance(scores, labels)
    np.testing.assert_array_equal(labels, before)


def test_mean_average_precision__is_scikit_learns():
    scores, labels = made_up(7, doubtful=False)
    expected = 100 * average_precision_score(labels, scores, average="macro")
    assert mean_average_precision(scores, labels) == pytest.approx(expected)


def test_average_performance__is_scikit_learns():
    scores, labels = made_up(8, doubtful=False)
    ours = average_performance(scores, labels)
    macro = precision_recall_fscore_support(labels, scores >= 0.5, average="macro", zero_division=0)
    micro = precision_recall_fscore_support(labels, scores >= 0.5, average="micro", zero_division=0)
    assert [ours["CP"], ours["CR"]] == pytest.approx([100 * value for value in macro[:2]])
    assert [ours["OP"], ours["OR"], ours["OF1"]] == pytest.approx([100 * value for value in micro[:3]])


def test_metrics__of_classes_that_never_occur_are_zero():
    scores, labels = np.full((4, 2), 0.1, np.float32), np.zeros((4, 2), np.int8)
    assert mean_average_precision(scores, labels) == 0.0
    assert set(average_performance(scores, labels).values()) == {0.0}


def test_average_performance__k_predicts_exactly_k_of_equal_scores():
    scores = np.full((1, 4), 0.5, np.float32)
    labels = np.array([[1, 1, 0, 0]], np.int8)
    assert average_performance(scores, labels, k=2)["OP"] == 100.0
