"""Metrics of outcomes under mmcls's names and in its units (percent). numpy only.

Source: mmcls 0.25.0, datasets/base_dataset.py and core/evaluation/eval_metrics.py; for data with several labels per
picture, multi_label_metrics.py.
"""

from collections.abc import Sequence

import numpy as np

from modelscope_beit.evaluation.multi_label_metrics import average_performance, mean_average_precision
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.settings.evaluation import (
    MetricOptions,
    chosen_metrics,
    clipped_topk,
    threshold_keys,
)

# Where the denominator of F1 would be 0; mmcls's.
_EPSILON = float(np.finfo(np.float32).eps)
_PER_CLASS = ("precision", "recall", "f1_score")


def metrics_of(
    outcomes: Outcomes, metrics: Sequence[str] = (), options: MetricOptions | None = None
) -> dict[str, float | np.ndarray]:
    """Returns the metrics under mmcls's keys, e.g. accuracy_top-1: percent as floats; support counts pictures.

    metrics: names as in settings/evaluation.py; empty: accuracy, or mAP for multi-label data.
    options: average_mode "none" gives an array (K,) for each of support, precision, recall and f1_score. topk is
        clipped to the number of classes.
    A picture counts for a metric only if the score is above the threshold, 0 where none is set.
    Raises SettingsError for a metric that does not fit the data.
    """
    options = options or MetricOptions()
    wanted = chosen_metrics(metrics, is_multi_label=outcomes.is_multi_label)
    if outcomes.is_multi_label:
        return _multi_label(outcomes, wanted, options)
    results: dict[str, float | np.ndarray] = {}
    if "accuracy" in wanted:
        results.update(_accuracies(outcomes, options))
    if "support" in wanted:
        support = np.bincount(outcomes.labels, minlength=outcomes.num_classes)
        results["support"] = float(support.sum()) if options.average_mode == "macro" else support
    figures = [_class_figures(outcomes, threshold) for threshold in _thresholds(options)]
    for metric in _PER_CLASS:
        if metric in wanted:
            for key, figure in zip(threshold_keys(metric, options.thresholds), figures, strict=True):
                results[key] = float(figure[metric].mean()) if options.average_mode == "macro" else figure[metric]
    return results


def _accuracies(outcomes: Outcomes, options: MetricOptions) -> dict[str, float]:
    topk = clipped_topk(options.topk, outcomes.num_classes)
    results = {}
    for k in [topk] if isinstance(topk, int) else topk:
        is_among = outcomes.label_ranks < k
        name = "accuracy" if isinstance(topk, int) else f"accuracy_top-{k}"
        for key, threshold in zip(threshold_keys(name, options.thresholds), _thresholds(options), strict=True):
            results[key] = 100.0 * float(np.mean(is_among & (outcomes.label_scores > threshold)))
    return results


def _class_figures(outcomes: Outcomes, threshold: float) -> dict[str, np.ndarray]:
    """Returns precision, recall and F1 of each class, (K,), percent; 0 where a class is never predicted or absent."""
    num_classes = outcomes.num_classes
    predictions = outcomes.top_classes[:, 0]
    counts = outcomes.top_scores[:, 0] > threshold
    predicted = np.bincount(predictions[counts], minlength=num_classes)
    right = np.bincount(predictions[counts & (predictions == outcomes.labels)], minlength=num_classes)
    precision = 100.0 * right / np.maximum(predicted, 1)
    recall = 100.0 * right / np.maximum(np.bincount(outcomes.labels, minlength=num_classes), 1)
    f1_score = 2 * precision * recall / np.maximum(precision + recall, _EPSILON)
    return {"precision": precision, "recall": recall, "f1_score": f1_score}


def _thresholds(options: MetricOptions) -> tuple[float, ...]:
    if isinstance(options.thresholds, tuple):
        return options.thresholds
    return (options.thresholds or 0.0,)


def _multi_label(outcomes: Outcomes, wanted: Sequence[str], options: MetricOptions) -> dict[str, float | np.ndarray]:
    assert outcomes.scores is not None, "multi-label outcomes have all scores"
    results: dict[str, float | np.ndarray] = {}
    if "mAP" in wanted:
        results["mAP"] = mean_average_precision(outcomes.scores, outcomes.labels)
    performance = average_performance(outcomes.scores, outcomes.labels, threshold=options.threshold, k=options.k)
    return results | {name: value for name, value in performance.items() if name in wanted}
