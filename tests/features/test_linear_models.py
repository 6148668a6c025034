"""All strengths at once, beside scikit-learn's classifiers one by one."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cross_entropy

from modelscope_beit.features import linear_models
from modelscope_beit.features.linear_models import fit_linear_models

STRENGTHS = (1e-4, 1e-2, 1.0)


def clouds(pictures: int, seed: int = 0, channels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of four overlapping classes, correlated, of different scales, one of them constant."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, pictures - 4)])
    mixing = np.random.default_rng(9).normal(size=(channels, channels))
    features = (np.eye(4, channels)[labels] * 2 + rng.normal(size=(pictures, channels))) @ mixing
    features = features * np.logspace(-2, 2, channels) + 5
    features[:, 3] = 7.5
    return features, labels


def objective(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, strength: float) -> float:
    loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    return float(loss) + strength / 2 * float((weights**2).sum())


@pytest.mark.parametrize("pictures", [300, 10], ids=["more pictures than channels", "fewer"])
def test_fit_linear_models__are_scikit_learns(pictures: int) -> None:
    features, labels = clouds(pictures)
    others, _ = clouds(200, seed=1)
    models = fit_linear_models(
        torch.from_numpy(features), torch.from_numpy(labels), torch.tensor(STRENGTHS), num_classes=4, tolerance=1e-7
    )
    assert models.has_converged.all()
    scaler = StandardScaler().fit(features)
    for number, strength in enumerate(STRENGTHS):
        theirs = LogisticRegression(C=1 / (strength * pictures), tol=1e-9, max_iter=20_000)
        theirs.fit(scaler.transform(features), labels)
        logits = models.logits(torch.from_numpy(others), number)
        np.testing.assert_allclose(
            logits.softmax(dim=1).numpy(), theirs.predict_proba(scaler.transform(others)), atol=2e-3
        )
        weights = models.weights[number].numpy() * scaler.scale_[:, None]
        own = objective(models.logits(torch.from_numpy(features), number).numpy(), labels, weights, strength)
        best = objective(theirs.decision_function(scaler.transform(features)), labels, theirs.coef_, strength)
        assert own == pytest.approx(best, rel=1e-4)


def test_fit_linear_models__several_data_sets_are_as_one_by_one() -> None:
    drawn = [clouds(60, seed) for seed in range(3)]
    features, labels = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
    strengths = torch.tensor([0.1, 0.01, 1.0])
    together = fit_linear_models(features, labels, strengths, num_classes=4, tolerance=1e-7)
    for number in range(3):
        alone = fit_linear_models(
            features[number], labels[number], strengths[number : number + 1], num_classes=4, tolerance=1e-7
        )
        difference = together.logits(features[0], number) - alone.logits(features[0], 0)
        assert difference.abs().max() < 1e-3


def test_fit_linear_models__pictures_in_parts_are_as_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = map(torch.from_numpy, clouds(100))
    whole = fit_linear_models(features, labels, torch.tensor(STRENGTHS), num_classes=4)
    monkeypatch.setattr(linear_models, "_LOGITS_AT_ONCE", 7 * 3 * 4)
    parts = fit_linear_models(features, labels, torch.tensor(STRENGTHS), num_classes=4)
    np.testing.assert_allclose(parts.weights.numpy(), whole.weights.numpy(), rtol=1e-6, atol=1e-9)


def test_fit_linear_models__says_when_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = map(torch.from_numpy, clouds(300))
    monkeypatch.setattr(linear_models, "MOST_ITERATIONS", 15)
    models = fit_linear_models(features, labels, torch.tensor([1e-4, 10.0]), num_classes=4)
    assert models.has_converged.tolist() == [False, True]
    assert models.weights.isfinite().all()
