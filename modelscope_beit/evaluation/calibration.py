"""Whether scores mean what they say: reliability by bins, the expected calibration error, accuracy by coverage."""

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """The reliability diagram. All arrays are (BINS,); bin m holds the scores in (m / BINS, (m + 1) / BINS].

    counts: pictures in the bin. confidence, accuracy: mean score and share of hits there, NaN in an empty bin.
    error: the expected calibration error, 0 to 1. largest_gap: the largest |accuracy - confidence| of a bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float
    largest_gap: float


def calibration(scores: np.ndarray, hits: np.ndarray) -> Calibration:
    """Returns how the scores of the best classes compare with how often these were right.

    scores: (N,) 0 to 1. hits: (N,) bool. N >= 1. A score of 0 counts in the first bin.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equations 1 to 5, with M = 15 as in table 1.
    """
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    scores = scores.astype(np.float64)
    bins = np.searchsorted(edges, scores, side="left")  # (N,); a score on an edge belongs to the bin below it.
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, weights=scores, minlength=BINS) / counts
        accuracy = np.bincount(bins, weights=hits, minlength=BINS) / counts
    gaps = np.nan_to_num(np.abs(accuracy - confidence))
    error = float((counts * gaps).sum() / scores.size)
    return Calibration(counts, confidence, accuracy, error, float(gaps.max()))


@dataclass(frozen=True)
class Coverage:
    """What is left when only scores of at least a threshold count as answers. All arrays are (points,).

    thresholds: falling. coverage: share of pictures answered, rising. accuracy: share of hits among the answered.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray


def coverage_curve(scores: np.ndarray, hits: np.ndarray, *, points: int = 200) -> Coverage:
    """Returns the accuracy of the surest part of the answers, for at most `points` thresholds; the last answers all.

    scores: (N,), hits: (N,) bool, N >= 1. Pictures with equal scores are answered together or not at all, so the curve
    does not depend on their order. Source: El-Yaniv and Wiener 2010, On the Foundations of Noise-free Selective
    Classification (risk-coverage).
    """
    thresholds, group = np.unique(-scores.astype(np.float64), return_inverse=True)
    answered = np.bincount(group).cumsum()
    right = np.bincount(group, weights=hits).cumsum()
    # Equally spaced in coverage, not in thresholds: most networks give most pictures scores close to 1.
    wanted = np.searchsorted(answered, np.linspace(0, scores.size, points + 1)[1:], side="left")
    kept = np.unique(np.minimum(wanted, answered.size - 1))
    return Coverage(-thresholds[kept], answered[kept] / scores.size, right[kept] / answered[kept])
