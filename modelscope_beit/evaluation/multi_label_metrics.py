"""Metrics of data with several labels per picture: mAP, and precision, recall, F1 by class and overall. numpy only.

Source: mmcls 0.25.0, core/evaluation/mean_ap.py and multilabel_eval_metrics.py.
"""

import numpy as np

_EPSILON = float(np.finfo(np.float32).eps)
_DEFAULT_THRESHOLD = 0.5


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean over classes of the area under the precision-recall steps, in percent.

    scores: (N, K). labels: (N, K): 1 present, 0 absent, -1 doubtful: neither for nor against. A class without a
    picture counts as 0. Pictures with equal scores are taken in their order.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    in_order = np.take_along_axis(labels, order, axis=0)
    is_present = in_order == 1
    found = np.cumsum(is_present, axis=0)
    looked_at = np.cumsum(in_order != -1, axis=0)
    precision = np.where(is_present, found / np.maximum(looked_at, 1), 0.0)
    averages = precision.sum(axis=0) / np.maximum(found[-1], _EPSILON)
    return 100.0 * float(averages.mean())


def average_performance(
    scores: np.ndarray, labels: np.ndarray, *, threshold: float | None = None, k: int | None = None
) -> dict[str, float]:
    """Returns precision, recall and F1 in percent: CP, CR, CF1 averaged over classes, OP, OR, OF1 over all decisions.

    scores, labels: as for mean_average_precision, but doubtful ones count as absent.
    threshold: classes with at least this score are predicted; k: the k best of each picture are, if there is no
    threshold; neither: 0.5 is the threshold.
    """
    if threshold is None and k is not None:
        is_predicted = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(is_predicted, np.argsort(-scores, axis=1, kind="stable")[:, :k], True, axis=1)
    else:
        is_predicted = scores >= (_DEFAULT_THRESHOLD if threshold is None else threshold)
    is_present = labels == 1
    right = (is_predicted & is_present).sum(axis=0)
    predicted, present = is_predicted.sum(axis=0), is_present.sum(axis=0)
    by_class = _precision_recall_f1(right, predicted, present)
    overall = _precision_recall_f1(right.sum(), predicted.sum(), present.sum())
    return dict(zip(("CP", "CR", "CF1", "OP", "OR", "OF1"), (*by_class, *overall), strict=True))


def _precision_recall_f1(right: np.ndarray, predicted: np.ndarray, present: np.ndarray) -> tuple[float, float, float]:
    precision = 100.0 * float(np.mean(right / np.maximum(predicted, 1)))
    recall = 100.0 * float(np.mean(right / np.maximum(present, 1)))
    return precision, recall, 2 * precision * recall / max(precision + recall, _EPSILON)
