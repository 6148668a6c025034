"""Intervals, beside SciPy's."""

import numpy as np
import pytest
import scipy.stats

from modelscope_beit.evaluation import confidence
from modelscope_beit.evaluation.confidence import bound_without_spread, share_interval, wilson_interval


@pytest.mark.parametrize(("right", "pictures"), [(130, 200), (3, 40), (4418, 5000)])
def test_share_interval__agrees_with_scipys_percentile_bootstrap(right: int, pictures: int) -> None:
    hits = np.arange(pictures) < right
    theirs = scipy.stats.bootstrap(
        (hits.astype(float),), np.mean, method="percentile", n_resamples=10_000, batch=500, rng=1
    ).confidence_interval
    ours = share_interval(hits)
    # The Monte-Carlo error of an outer quantile of 10,000 draws is about 3% of the standard deviation.
    error = 5 * 0.03 * np.sqrt(ours.value * (1 - ours.value) / pictures) + 1 / pictures
    assert ours.value == right / pictures
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=error)


def test_share_interval__has_the_draws_of_resampling_pictures() -> None:
    """The shortcut by the binomial distribution, beside drawing the pictures one by one."""
    hits = np.random.default_rng(5).random(300) < 0.7
    drawn = np.random.default_rng(7).integers(0, 300, (20_000, 300))
    low, high = np.percentile(hits[drawn].mean(axis=1), [2.5, 97.5])
    ours = share_interval(hits)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.005)


def test_share_interval__covers_the_true_share_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    intervals = [share_interval(rng.random(400) < 0.8) for _ in range(400)]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert confidence.CONFIDENCE - 0.04 < covered < confidence.CONFIDENCE + 0.04


def test_share_interval__is_the_same_at_every_call() -> None:
    hits = np.arange(1000) % 3 > 0
    assert share_interval(hits) == share_interval(hits[::-1])


def test_share_interval__of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        share_interval(np.zeros(0, bool))


@pytest.mark.parametrize("pictures", [1, 20, 5000])
def test_bound_without_spread__is_clopper_and_pearsons(pictures: int) -> None:
    exact = scipy.stats.binomtest(pictures, pictures, alternative="greater").proportion_ci(0.95, method="exact")
    assert 1 - bound_without_spread(pictures) == pytest.approx(exact.low)


@pytest.mark.parametrize(("hits", "pictures"), [(0, 1), (0, 50), (3, 50), (50, 50), (4999, 100_000)])
def test_wilson_interval__equals_scipy(hits: int, pictures: int) -> None:
    found = wilson_interval(hits, pictures)
    expected = scipy.stats.binomtest(hits, pictures).proportion_ci(confidence.CONFIDENCE, method="wilson")
    assert found.value == hits / pictures
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval__of_nothing() -> None:
    with pytest.raises(ValueError, match="no picture"):
        wilson_interval(0, 0)
