"""Thresholds against their promise, detection against scikit-learn."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.unknown import check_count, detection, fit_threshold, share_below

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_fit_threshold__keeps_its_promise_on_other_pictures(rate: float) -> None:
    """Over many draws the mean share of other pictures below it is at most the rate, and not much less."""
    shares = []
    for _ in range(400):
        known = RNG.gumbel(size=600)
        threshold = fit_threshold(known, rate)
        assert (known < threshold).mean() <= rate
        assert threshold in known
        # The exact share of the distribution below the threshold.
        shares.append(np.exp(-np.exp(-threshold)))
    deviation = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= rate + 3 * deviation
    assert np.mean(shares) >= rate * 600 / 601 - 1 / 601 - 3 * deviation


def test_fit_threshold__at_the_smallest_count() -> None:
    # floor(0.05 * 100) = 5: the fifth from below, so that four lie below it.
    assert fit_threshold(np.arange(99.0)[::-1], 0.05) == 4.0
    with pytest.raises(SettingsError, match=r"0\.05 needs at least 99 pictures.*there are 98"):
        fit_threshold(np.arange(98.0), 0.05)


def test_fit_threshold__equal_values_are_all_known() -> None:
    threshold = fit_threshold(np.ones(200), 0.05)
    assert share_below(np.ones(200), threshold).value == 0


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan"), 5.0])
def test_check_count__refuses_what_is_no_share(rate: float) -> None:
    with pytest.raises(SettingsError, match="between 0 and 1"):
        check_count(10_000, rate)


def test_check_count__tells_how_many_are_needed() -> None:
    check_count(499, 0.01)
    with pytest.raises(SettingsError, match="at least 4,999 pictures"):
        check_count(499, 0.001)


def test_detection__equals_sklearn() -> None:
    # With ties, also between the two.
    known, unknown = np.round(RNG.normal(1, 1, 997), 1), np.round(RNG.normal(0, 1, 503), 1)
    truth = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    values = np.r_[known, unknown]
    found = detection(known, unknown, 0.35)
    assert found.pictures == 503
    assert found.auroc == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    false_rates, true_rates, _ = roc_curve(truth, values, drop_intermediate=False)
    assert found.passed_at_95 == pytest.approx(false_rates[np.argmax(true_rates >= 0.95)], abs=1e-12)
    below = int((unknown < 0.35).sum())
    wilson = binomtest(below, 503).proportion_ci(method="wilson")
    assert (found.detected.value, found.detected.low, found.detected.high) == pytest.approx((below / 503, *wilson))


def test_detection__of_what_is_far_away_is_perfect() -> None:
    found = detection(np.arange(100.0), np.full(7, -5.0), 3.0)
    assert (found.auroc, found.detected.value, found.passed_at_95) == (1.0, 1.0, 0.0)
