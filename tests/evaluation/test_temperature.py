"""The temperature against SciPy's minimiser and scikit-learn's logistic regression."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation import temperature as module
from modelscope_beit.evaluation.temperature import LARGEST, fit_temperature


def drawn(pictures: int, num_classes: int, true_temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that these have at the true temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(pictures, num_classes)) * 3
    noise = rng.gumbel(size=logits.shape)
    return (true_temperature * logits).astype(np.float32), (logits + noise).argmax(axis=1)


def best_by_scipy(loss) -> float:
    found = minimize_scalar(lambda log: loss(np.exp(log)), bounds=(-5, 4), method="bounded", options={"xatol": 1e-12})
    return float(np.exp(found.x))


@pytest.mark.parametrize("true_temperature", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_fit_temperature__equals_scipy(num_classes: int, true_temperature: float) -> None:
    logits, labels = drawn(2000, num_classes, true_temperature)
    wide = logits.astype(np.float64)

    def loss(value: float) -> float:
        scaled = wide / value
        return float(np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]))

    found = fit_temperature(logits, labels)
    assert found == pytest.approx(best_by_scipy(loss), rel=1e-6)
    # What it was drawn with, up to chance.
    assert found == pytest.approx(true_temperature, rel=0.1)
    # A minimum, to both sides: finer than SciPy's own bound.
    assert loss(found) <= min(loss(found * 1.0001), loss(found / 1.0001))


def test_fit_temperature__of_sigmoids_equals_scipy_and_sklearn() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(500, 4)) * 3
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits / 1.7))).astype(np.int8)
    labels[rng.random(labels.shape) < 0.1] = -1
    counts = labels >= 0

    def loss(value: float) -> float:
        return float(np.logaddexp(0, np.where(labels == 1, -logits, logits)[counts] / value).sum())

    found = fit_temperature(logits.astype(np.float32), labels)
    assert found == pytest.approx(best_by_scipy(loss), rel=1e-6)
    # One weight for the logit, nothing else: the same model.
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(
        logits[counts][:, None], labels[counts]
    )
    assert found == pytest.approx(1 / regression.coef_.item(), rel=1e-5)


def test_fit_temperature__in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(301, 5, 2.0)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr(module, "_LOGITS_AT_ONCE", 35)
    assert fit_temperature(logits, labels) == pytest.approx(whole, rel=1e-10)


def test_fit_temperature__does_not_care_for_a_shift_of_all_logits() -> None:
    logits, labels = drawn(300, 5, 2.0)
    shifted = logits + 1000.0
    assert fit_temperature(shifted, labels) == pytest.approx(fit_temperature(shifted - 1000.0, labels), rel=1e-6)


def test_fit_temperature__nothing_wrong_has_none() -> None:
    logits = np.eye(4, dtype=np.float32)
    assert fit_temperature(logits, np.arange(4)) is None
    assert fit_temperature(2 * logits - 1, np.eye(4, dtype=np.int8)) is None


def test_fit_temperature__ties_alone_are_no_reason_to_search_for_ever() -> None:
    assert fit_temperature(np.array([[1, 1, 0], [0, 3, 0]], np.float32), np.array([0, 1])) is None


def test_fit_temperature__refuses_logits_that_say_nothing() -> None:
    logits, labels = drawn(500, 5, 1.0)
    with pytest.raises(SettingsError, match=f"divided by {LARGEST:g}, the logits are too sure"):
        fit_temperature(logits, (labels + 1) % 5)
