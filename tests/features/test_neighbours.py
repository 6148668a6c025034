"""Neighbours beside scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from modelscope_beit.features import neighbours
from modelscope_beit.features.neighbours import nearest, nearest_pictures, vote
from modelscope_beit.features.table import FeatureTable


def clouds(pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of three overlapping classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, pictures)
    centers = np.random.default_rng(9).normal(size=(3, 16))
    return centers[labels] + 1.2 * rng.normal(size=(pictures, 16)), labels


@pytest.mark.parametrize("at_once", [1 << 24, 500])
def test_nearest__are_scikit_learns(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(neighbours, "_SIMILARITIES_AT_ONCE", at_once)
    (known, _), (queries, _) = clouds(200, 0), clouds(50, 1)
    distances, rows = NearestNeighbors(n_neighbors=7, metric="cosine").fit(known).kneighbors(queries)
    own_rows, cosines = nearest(torch.from_numpy(known), torch.from_numpy(queries), 7)
    np.testing.assert_array_equal(own_rows.numpy(), rows)
    np.testing.assert_allclose(cosines.numpy(), 1 - distances, atol=1e-12)


def test_nearest__of_few_pictures_gives_all() -> None:
    rows, cosines = nearest(torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0]]), torch.tensor([[3.0, 0.0]]), 10)
    assert (rows.tolist(), cosines.tolist()) == ([[0, 2, 1]], [[1.0, 0.0, -1.0]])


def test_vote__is_scikit_learns_with_dinos_weights() -> None:
    (known, labels), (queries, _) = clouds(300, 0), clouds(200, 1)
    chosen = vote(
        torch.from_numpy(known), torch.from_numpy(labels), torch.from_numpy(queries), ks=(1, 5, 20, 301), num_classes=3
    )
    assert list(chosen) == [1, 5, 20]
    for k, classes in chosen.items():
        theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07)).fit(
            known, labels
        )
        np.testing.assert_array_equal(classes.numpy(), theirs.predict(queries))


def test_nearest_pictures__passes_over_rows_with_errors() -> None:
    features = np.array([[1, 0], [np.nan, np.nan], [1, 1], [-1, 0]], np.float32)
    table = FeatureTable(["a", "b", "c", "d"], ["x", "x", None, "y"], ["train"] * 4, features, {1: "broken"}, {})
    found = nearest_pictures(table, np.array([2, 0], np.float32), 3)
    assert [(one.path, one.label) for one in found] == [("a", "x"), ("c", None), ("d", "y")]
    assert [one.cosine for one in found] == pytest.approx([1.0, 0.5**0.5, -1.0])
