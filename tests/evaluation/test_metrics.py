import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.metrics import metrics_of
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.settings.evaluation import (
    METRICS,
    MULTI_LABEL_METRICS,
    EvaluationSettings,
    MetricOptions,
    read_evaluation,
    score_keys,
)
from modelscope_beit.settings.problems import Problems, Section

# mmcls calls numpy in a way that numpy 2 does not like.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__")


def outcomes_of(scores: np.ndarray, labels: np.ndarray) -> Outcomes:
    """Returns what measuring keeps of these scores (N, K); without ties there is only one order."""
    order = np.argsort(-scores, axis=1, kind="stable")
    is_multi_label = labels.ndim == 2
    right = np.zeros(len(labels), np.int64) if is_multi_label else labels
    return Outcomes(
        indices=np.arange(len(scores)),
        labels=labels,
        top_classes=order[:, :5].astype(np.int32),
        top_scores=np.take_along_axis(scores, order[:, :5], axis=1),
        label_scores=scores[np.arange(len(scores)), right],
        label_ranks=np.argmax(order == right[:, None], axis=1).astype(np.int32),
        class_names=tuple(f"class {number}" for number in range(scores.shape[1])),
        scores=scores if is_multi_label else None,
    )


def probabilities(seed: int, n: int = 60, k: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Returns softmax scores of a network that is often right, and labels; the last class never occurs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, max(k - 1, 1), n)
    logits = rng.normal(size=(n, k)) + 2.0 * np.eye(k)[labels] * (rng.random((n, 1)) < 0.7)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return scores.astype(np.float32), labels


def evaluate_by_mmcls(kind: str, scores: np.ndarray, labels: np.ndarray, metrics: object, options: dict | None) -> dict:
    """Returns what the evaluate of mmcls's own data set class says."""
    datasets = pytest.importorskip("mmcls.datasets", reason="the oracle comes with the extra openmmlab")
    dataset = object.__new__(getattr(datasets, kind))
    dataset.data_infos = [{"gt_label": label} for label in labels]
    results: dict = dataset.evaluate(list(scores), metric=metrics, metric_options=options)
    return results


def same(ours: dict, theirs: dict) -> None:
    """Same keys in the same order, same values; mmcls computes in float32."""
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
        assert type(ours[key]) is (np.ndarray if isinstance(value, np.ndarray) else float), key


MM_OPTIONS = [
    {},
    {"topk": (1, 5)},
    {"topk": 1},
    {"topk": (3,)},
    {"thrs": 0.4},
    {"thrs": (0.0, 0.3, 0.65)},
    {"thrs": (0.3,), "topk": 2},
    {"average_mode": "none"},
    {"average_mode": "none", "thrs": (0.2, 0.8)},
]


@pytest.mark.openmmlab
@pytest.mark.parametrize("options", MM_OPTIONS, ids=str)
@pytest.mark.parametrize("metrics", ["accuracy", ["support", "accuracy"], ["f1_score", "recall"], list(METRICS)])
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_of__is_mmclss_evaluate(seed, metrics, options):
    scores, labels = probabilities(seed)
    settings = read_evaluation(Section({"metric": metrics, "metric_options": options}, "evaluation", Problems()))
    ours = metrics_of(outcomes_of(scores, labels), settings.metrics, settings.options)
    same(ours, evaluate_by_mmcls("CustomDataset", scores, labels, metrics, options))


@pytest.mark.openmmlab
def test_metrics_of__default_is_mmclss():
    scores, labels = probabilities(2)
    same(metrics_of(outcomes_of(scores, labels)), evaluate_by_mmcls("CustomDataset", scores, labels, "accuracy", None))


@pytest.mark.openmmlab
def test_metrics_of__score_of_zero_counts_no_more_than_in_mmcls():
    scores = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    labels = np.array([2, 1])
    options = {"topk": (1, 3)}
    ours = metrics_of(outcomes_of(scores, labels), options=MetricOptions(topk=(1, 3)))
    same(ours, evaluate_by_mmcls("CustomDataset", scores, labels, "accuracy", options))
    assert ours == {"accuracy_top-1": 50.0, "accuracy_top-3": 50.0}


@pytest.mark.openmmlab
@pytest.mark.parametrize("options", [None, {"thr": 0.3}, {"k": 2}])
@pytest.mark.parametrize("metrics", ["mAP", list(MULTI_LABEL_METRICS), ["OF1", "CP"]])
def test_metrics_of__several_labels_is_mmclss_evaluate(metrics, options):
    rng = np.random.default_rng(5)
    scores = rng.random((30, 6)).astype(np.float32)
    labels = rng.integers(-1, 2, (30, 6)).astype(np.int8)
    settings = read_evaluation(Section({"metric": metrics, "metric_options": options}, "evaluation", Problems()))
    ours = metrics_of(outcomes_of(scores, labels), settings.metrics, settings.options)
    same(ours, evaluate_by_mmcls("VOC", scores, labels.copy(), metrics, options))


@given(st.integers(0, 10_000), st.integers(3, 12))
def test_metrics_of__is_scikit_learns(seed, k):
    scores, labels = probabilities(seed, n=25, k=k)
    ours = metrics_of(outcomes_of(scores, labels), METRICS, MetricOptions(topk=(1, 2), average_mode="none"))
    theirs = precision_recall_fscore_support(labels, scores.argmax(axis=1), labels=np.arange(k), zero_division=0)
    for metric, value in zip(("precision", "recall", "f1_score"), theirs[:3], strict=True):
        np.testing.assert_allclose(ours[metric], 100 * value, atol=1e-9)
    np.testing.assert_array_equal(ours["support"], theirs[3])
    top_2 = top_k_accuracy_score(labels, scores, k=2, labels=np.arange(k))
    assert ours["accuracy_top-2"] == pytest.approx(100 * top_2)


@pytest.mark.parametrize(
    ("k", "options", "keys"),
    [
        (4, MetricOptions(), ["accuracy_top-1"]),
        (5, MetricOptions(), ["accuracy_top-1", "accuracy_top-5"]),
        (2, MetricOptions(topk=(5,)), ["accuracy_top-1"]),
        (2, MetricOptions(topk=3), ["accuracy"]),
    ],
)
def test_metrics_of__few_classes(k, options, keys):
    """The stock trainer stops with an error in the first of these."""
    scores, labels = probabilities(0, k=k)
    results = metrics_of(outcomes_of(scores, labels), options=options)
    assert list(results) == keys
    if k > 2:
        assert results["accuracy_top-1"] == pytest.approx(100 * np.mean(scores.argmax(axis=1) == labels))


def test_metrics_of__accuracy_knows_places_beyond_those_that_are_kept():
    scores, labels = probabilities(3, n=200, k=30)
    results = metrics_of(outcomes_of(scores, labels), options=MetricOptions(topk=(20,)))
    expected = top_k_accuracy_score(labels, scores, k=20, labels=np.arange(30))
    assert results["accuracy_top-20"] == pytest.approx(100 * expected)


@pytest.mark.parametrize("options", MM_OPTIONS, ids=str)
@pytest.mark.parametrize("k", [3, 8])
@pytest.mark.parametrize("metrics", [(), METRICS, ("recall", "accuracy")])
def test_score_keys__are_the_keys_that_come(metrics, k, options):
    settings = read_evaluation(Section({"metric": list(metrics), "metric_options": options}, "", Problems()))
    scores, labels = probabilities(4, k=k)
    results = metrics_of(outcomes_of(scores, labels), settings.metrics, settings.options)
    single = [key for key, value in results.items() if isinstance(value, float)]
    assert list(score_keys(settings, num_classes=k, is_multi_label=False)) == single


def test_score_keys__are_the_keys_that_come_for_several_labels():
    scores, labels = np.full((3, 2), 0.5, np.float32), np.ones((3, 2), np.int8)
    settings = EvaluationSettings(metrics=("OF1", "mAP"))
    results = metrics_of(outcomes_of(scores, labels), settings.metrics)
    assert list(score_keys(settings, num_classes=2, is_multi_label=True)) == list(results) == ["mAP", "OF1"]


def test_metrics_of__refuses_metrics_for_other_labels():
    scores, labels = probabilities(0)
    with pytest.raises(SettingsError, match="one label per picture cannot be measured by CF1"):
        metrics_of(outcomes_of(scores, labels), ["accuracy", "CF1"])
