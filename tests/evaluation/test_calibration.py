"""Reliability, beside a loop over the pictures as the paper defines it."""

import numpy as np
import pytest

from modelscope_beit.evaluation.calibration import BINS, calibration, coverage_curve


def expected_calibration_error(scores: list[float], hits: list[bool]) -> float:
    """Guo et al. 2017, equation 3, picture by picture."""
    error = 0.0
    for m in range(1, 16):
        inside = [i for i, score in enumerate(scores) if (m - 1) / 15 < score <= m / 15 or (m == 1 and score == 0)]
        if inside:
            accuracy = sum(hits[i] for i in inside) / len(inside)
            confidence = sum(scores[i] for i in inside) / len(inside)
            error += len(inside) / len(scores) * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize("seed", range(5))
def test_calibration__error_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random(500).astype(np.float32) ** 0.3
    hits = rng.random(500) < scores**2
    expected = expected_calibration_error([float(score) for score in scores], hits.tolist())
    assert calibration(scores, hits).error == pytest.approx(expected, rel=1e-12)


def test_calibration__by_hand() -> None:
    found = calibration(np.array([0.95, 0.95, 0.95, 0.95, 0.5]), np.array([True, True, True, False, False]))
    assert found.counts.tolist() == [0] * 7 + [1] + [0] * 6 + [4]
    assert found.error == pytest.approx(4 / 5 * 0.2 + 1 / 5 * 0.5)
    assert found.largest_gap == pytest.approx(0.5)
    assert (found.accuracy[14], found.confidence[14]) == pytest.approx((0.75, 0.95))
    assert np.isnan(found.accuracy[0])


def test_calibration__puts_an_edge_into_the_bin_below() -> None:
    found = calibration(np.array([0.0, 1 / 15, 3 / 15, 1.0]), np.ones(4, bool))
    assert np.flatnonzero(found.counts).tolist() == [0, 2, BINS - 1]
    assert found.counts[0] == 2


def test_calibration__of_honest_scores_is_small() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.2, 1, 100_000)
    assert calibration(scores, rng.random(100_000) < scores).error < 0.006


def test_coverage_curve__by_hand() -> None:
    curve = coverage_curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]))
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.accuracy.tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4])


def test_coverage_curve__takes_equal_scores_together() -> None:
    """Else the curve would depend on the order of the pictures; half precision gives a score of 1 to most of them."""
    scores, hits = np.array([1.0, 1.0, 1.0, 0.5]), np.array([True, False, True, False])
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        curve = coverage_curve(scores[order], hits[order])
        assert curve.coverage.tolist() == [0.75, 1.0]
        assert curve.accuracy.tolist() == pytest.approx([2 / 3, 0.5])


def test_coverage_curve__is_thinned_and_ends_with_all_pictures() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(10_000)
    hits = rng.random(10_000) < scores
    curve = coverage_curve(scores, hits, points=50)
    assert len(curve.coverage) == 50
    assert (curve.coverage[-1], curve.accuracy[-1]) == (1.0, hits.mean())
    for threshold, coverage, accuracy in zip(curve.thresholds, curve.coverage, curve.accuracy, strict=True):
        answered = scores >= threshold
        assert (coverage, accuracy) == (answered.mean(), pytest.approx(hits[answered].mean()))
