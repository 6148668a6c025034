"""The temperature at which the scores of held-out pictures are most likely to be right. numpy only.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
"""

from collections.abc import Callable, Iterator

import numpy as np

from modelscope_beit.errors import SettingsError

# A network whose logits want more than this says next to nothing, or the pictures say next to nothing of it.
LARGEST = 20.0
# Beyond that only ties are left among the wrong answers.
_HUGE = 1e6
_SMALLEST_STEP = 1e-12
_MOST_STEPS = 200
# So many logits are held in float64 at a time.
_LOGITS_AT_ONCE = 1 << 22

# Slope and curvature of the negative log-likelihood by the inverse of the temperature.
_Slopes = Callable[[float], tuple[float, float]]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Returns the temperature T that makes the labels likeliest, the logits being divided by T.

    logits: (N, K), finite. labels: (N,) numbers of classes; for multi-label data (N, K): 1 present, 0 absent, -1
    doubtful, with a sigmoid and binary cross-entropy for each class.
    None: every answer is right, so that the likelihood grows for ever as the temperature falls.
    Raises SettingsError if they say nothing of the labels: then no temperature up to LARGEST is the best one.
    The likelihood is convex in 1 / T, so Newton's steps, kept between bounds, find its one minimum to full precision.
    """
    if _is_always_right(logits, labels):
        return None
    slopes = _sigmoid_slopes(logits, labels) if labels.ndim == 2 else _softmax_slopes(logits, labels)
    low, high = 1 / LARGEST, 1.0
    if slopes(low)[0] >= 0:
        raise SettingsError(
            f"Even divided by {LARGEST:g}, the logits are too sure: the network does not know the classes of these "
            "pictures. Are the labels those of the model, and the pictures such as it was trained for?"
        )
    while slopes(high)[0] <= 0:
        if high > _HUGE:
            return None
        low, high = high, 2 * high
    return 1 / _root(slopes, low, high)


def _root(slopes: _Slopes, low: float, high: float) -> float:
    """Returns where the slope is 0, between a point where it is negative and one where it is not."""
    place = (low + high) / 2
    for _ in range(_MOST_STEPS):
        slope, curvature = slopes(place)
        low, high = (place, high) if slope < 0 else (low, place)
        step = slope / curvature if curvature > 0 else np.inf
        following = place - step if low < place - step < high else (low + high) / 2
        if abs(following - place) <= _SMALLEST_STEP * place:
            return following
        place = following
    return place


def _is_always_right(logits: np.ndarray, labels: np.ndarray) -> bool:
    """Tells whether no right class is ever behind a wrong one; for several labels, whether every sign is right."""
    if labels.ndim == 2:
        counts = labels >= 0
        return bool(np.where(labels == 1, logits > 0, logits < 0)[counts].all())
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    others = logits.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return bool((own > others.max(axis=1, keepdims=True)).all())


def _softmax_slopes(logits: np.ndarray, labels: np.ndarray) -> _Slopes:
    def slopes(inverse: float) -> tuple[float, float]:
        slope = curvature = 0.0
        for rows in _parts(logits):
            part = logits[rows].astype(np.float64)
            # Only differences count, and large logits would overflow.
            part -= part.max(axis=1, keepdims=True)
            weights = np.exp(inverse * part)
            weights /= weights.sum(axis=1, keepdims=True)
            mean = (weights * part).sum(axis=1)
            slope += float((mean - np.take_along_axis(part, labels[rows, None], axis=1)[:, 0]).sum())
            curvature += float(((weights * part**2).sum(axis=1) - mean**2).sum())
        return slope / len(logits), curvature / len(logits)

    return slopes


def _sigmoid_slopes(logits: np.ndarray, labels: np.ndarray) -> _Slopes:
    def slopes(inverse: float) -> tuple[float, float]:
        slope = curvature = 0.0
        for rows in _parts(logits):
            counts = labels[rows] >= 0
            part, truth = logits[rows][counts].astype(np.float64), labels[rows][counts]
            # In two forms, of which neither overflows.
            score = np.exp(-np.logaddexp(0, -inverse * part))
            slope += float((part * (score - truth)).sum())
            curvature += float((part**2 * score * (1 - score)).sum())
        return slope / len(logits), curvature / len(logits)

    return slopes


def _parts(logits: np.ndarray) -> Iterator[slice]:
    rows = max(1, _LOGITS_AT_ONCE // logits.shape[1])
    return (slice(start, start + rows) for start in range(0, len(logits), rows))
