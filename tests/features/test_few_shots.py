"""Curves of few shots on features whose difficulty is known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler, normalize

from modelscope_beit.features import few_shots
from modelscope_beit.features.few_shots import few_shot_curve


def clouds(pictures: int, seed: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = np.arange(pictures) % 3
    centers = np.random.default_rng(9).normal(size=(3, 8))
    return torch.from_numpy(centers[labels] + noise * rng.normal(size=(pictures, 8))), torch.from_numpy(labels)


def test_few_shot_curve__more_pictures_help_and_the_seed_decides() -> None:
    data = (*clouds(90, 0), *clouds(300, 1))
    curve = few_shot_curve(*data, num_classes=3, seed=0)
    assert [entry.shots for entry in curve] == [1, 2, 5, 10, 20]
    assert all(len(entry.linear) == len(entry.class_means) == few_shots.DRAWS for entry in curve)
    assert np.mean(curve[-1].linear) > np.mean(curve[0].linear) + 0.1
    assert np.mean(curve[-1].class_means) > np.mean(curve[0].class_means) + 0.1
    assert few_shot_curve(*data, num_classes=3, seed=0) == curve != few_shot_curve(*data, num_classes=3, seed=1)


def test_few_shot_curve__of_all_pictures_are_scikit_learns_numbers() -> None:
    """With as many shots as pictures every draw is the whole, in another order."""
    (features, labels), (queries, answers) = clouds(60, 0), clouds(300, 1)
    (found,) = few_shot_curve(features, labels, queries, answers, num_classes=3, seed=0, shots=(20,), draws=2)
    scaler = StandardScaler().fit(features)
    linear = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(scaler.transform(features), labels)
    center = features.numpy().mean(axis=0)
    means = NearestCentroid().fit(normalize(features.numpy() - center), labels)
    # By cosine the length of a mean does not count.
    means.centroids_ = normalize(means.centroids_)
    assert found.linear == pytest.approx([linear.score(scaler.transform(queries), answers)] * 2, abs=0.007)
    assert found.class_means == pytest.approx([means.score(normalize(queries.numpy() - center), answers)] * 2)


def test_few_shot_curve__leaves_out_what_a_class_has_not_and_unknown_classes() -> None:
    features, labels = clouds(30, 0, noise=0.01)
    curve = few_shot_curve(features[:8], labels[:8], features, labels, num_classes=5, seed=0, draws=2)
    assert [entry.shots for entry in curve] == [1, 2]  # Class 2 has two of the eight pictures.
    assert curve[1].linear == curve[1].class_means == (1.0, 1.0)
