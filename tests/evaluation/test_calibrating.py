"""A fit as a whole, on drawn logits: numbers against formulas written anew, and every reason not to fit."""

import numpy as np
import pytest
from scipy.special import expit, logsumexp, softmax
from sklearn.metrics import log_loss

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.calibrating import fit


def drawn(pictures: int = 1500, num_classes: int = 6, factor: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` times too sure, and their labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(pictures, num_classes)) * 2
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return (factor * logits).astype(np.float32), labels


def calibration_error(scores: np.ndarray, hits: np.ndarray) -> float:
    """Guo et al.'s formula, bin by bin."""
    bins = np.clip(np.ceil(scores * 15).astype(int) - 1, 0, 14)
    gaps = [abs(hits[bins == m].mean() - scores[bins == m].mean()) * (bins == m).sum() for m in np.unique(bins)]
    return sum(gaps) / len(scores)


def test_fit__makes_scores_mean_what_they_say() -> None:
    logits, labels = drawn()
    found = fit(logits, labels, false_alarm_rate=0.05)
    wide = logits.astype(np.float64)
    hits = wide.argmax(1) == labels
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    for reliability, loss, temperature in (
        (found.before, found.loss_before, 1.0),
        (found.after, found.loss_after, found.temperature),
    ):
        scores = softmax(wide / temperature, axis=1)
        assert reliability.error == pytest.approx(calibration_error(scores.max(1), hits), abs=1e-9)
        assert loss == pytest.approx(log_loss(labels, scores), rel=1e-9)
    assert found.after.error < 0.03 < found.before.error
    assert found.right.value == hits.mean()
    np.testing.assert_allclose(found.known, logsumexp(wide, axis=1), rtol=1e-12)
    assert (found.known < found.unknown_below).sum() == int(0.05 * 1501) - 1
    assert found.false_alarms.value == (int(0.05 * 1501) - 1) / 1500
    assert found.detection is None and found.notes == ()


def test_fit__unknown_pictures_are_measured_and_not_fitted_to() -> None:
    logits, labels = drawn()
    without = fit(logits, labels, false_alarm_rate=0.1)
    unknown = np.random.default_rng(1).normal(size=(400, 6)).astype(np.float32) - 2
    found = fit(logits, labels, false_alarm_rate=0.1, unknown=unknown)
    assert (found.temperature, found.unknown_below) == (without.temperature, without.unknown_below)
    assert found.detection is not None and found.detection.pictures == 400
    below = logsumexp(unknown.astype(np.float64), axis=1) < found.unknown_below
    assert found.detection.detected.value == pytest.approx(below.mean())


def test_fit__of_several_labels_a_picture() -> None:
    rng = np.random.default_rng(2)
    logits = (rng.normal(size=(600, 4)) * 4).astype(np.float32)
    labels = (rng.random(logits.shape) < expit(logits / 2.0)).astype(np.int8)
    labels[::7, 1] = -1
    found = fit(logits, labels, false_alarm_rate=0.05)
    assert found.temperature == pytest.approx(2.0, rel=0.15)
    has_class = (labels == 1).any(axis=1)
    # Pictures of none of the classes take no part in the threshold.
    assert len(found.known) == has_class.sum() < 600
    np.testing.assert_allclose(found.known, np.log1p(np.exp(logits[has_class].astype(float))).sum(1), rtol=1e-9)
    counts = labels >= 0
    best = logits.argmax(1)
    told = labels[np.arange(600), best]
    assert 0 < (told == -1).sum(), "of some pictures nobody knows whether the best class is right"
    assert found.right.value == (told[told >= 0] == 1).mean()
    scores = expit(logits.max(1).astype(np.float64))[told >= 0]
    assert found.before.error == pytest.approx(calibration_error(scores, told[told >= 0] == 1), abs=1e-9)
    signed = np.where(labels == 1, logits, -logits).astype(np.float64) / found.temperature
    assert found.loss_after == pytest.approx(np.logaddexp(0, -signed)[counts].sum() / 600, rel=1e-9)


def test_fit__where_all_is_right_leaves_the_temperature() -> None:
    logits = np.tile(np.eye(4, dtype=np.float32) * 5, (30, 1))
    found = fit(logits, np.tile(np.arange(4), 30), false_alarm_rate=0.05)
    assert found.temperature == 1.0
    assert found.before.error == found.after.error and "left at 1" in found.notes[0]


def test_fit__refuses_too_few_pictures() -> None:
    logits, labels = drawn(50)
    with pytest.raises(SettingsError, match="at least 99 pictures of known classes.*there are 50"):
        fit(logits, labels, false_alarm_rate=0.05)


def test_fit__refuses_what_is_no_better_than_chance() -> None:
    logits, labels = drawn(600)
    with pytest.raises(SettingsError, match=r"no better than chance among 6 classes \(16\.7%\)"):
        fit(logits, np.random.default_rng(3).permutation(labels), false_alarm_rate=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_fit__refuses_what_is_not_finite(value: float) -> None:
    logits, labels = drawn(200)
    broken = logits.copy()
    broken[[3, 5], 2] = value
    with pytest.raises(SettingsError, match="not finite numbers for 2 of 200 pictures"):
        fit(broken, labels, false_alarm_rate=0.05)
    with pytest.raises(SettingsError, match="not finite numbers for 2 of 200 unknown pictures"):
        fit(logits, labels, false_alarm_rate=0.05, unknown=broken)
