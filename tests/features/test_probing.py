"""A whole probe, beside scikit-learn's classifiers on the same features."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from modelscope_beit.errors import SettingsError
from modelscope_beit.features.probing import STRENGTHS, held_out, probe_features
from modelscope_beit.features.table import FeatureTable


def digits(pictures: int = 600, **changes: Any) -> FeatureTable:
    data = load_digits()
    content = {
        "paths": [str(row) for row in range(pictures)],
        "labels": [str(label) for label in data.target[:pictures]],
        "splits": ["validation" if row % 3 == 0 else "train" for row in range(pictures)],
        "features": data.data[:pictures].astype(np.float32),
        "errors": {},
        "facts": {},
    }
    return FeatureTable(**{**content, **changes})


def test_probe_features__are_scikit_learns_numbers() -> None:
    table = digits()
    found = probe_features(table, seed=0)
    is_train, labels = np.array(table.splits) == "train", np.array(table.labels)
    for k in (1, 5, 10, 20):
        theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda away: np.exp((1 - away) / 0.07))
        score = theirs.fit(table.features[is_train], labels[is_train]).score(
            table.features[~is_train], labels[~is_train]
        )
        assert found.neighbours[k].value == pytest.approx(score, abs=0.006), k  # One picture: rounded cosines.
    assert found.strength in STRENGTHS and all(trial.has_converged for trial in found.trials)
    scaler = StandardScaler().fit(table.features[is_train])
    theirs = LogisticRegression(C=1 / (found.strength * is_train.sum()), max_iter=2000)
    theirs.fit(scaler.transform(table.features[is_train]), labels[is_train])
    score = theirs.score(scaler.transform(table.features[~is_train]), labels[~is_train])
    assert found.linear.value == pytest.approx(score, abs=0.006)
    assert found.linear.low < found.linear.value < found.linear.high
    assert (found.num_train, found.num_validation, found.num_classes) == (400, 200, 10)
    assert [entry.shots for entry in found.shots] == [1, 2, 5, 10, 20]
    assert json.loads(json.dumps(found.as_json()))["neighbours"]["5"]["value"] == found.neighbours[5].value


def test_probe_features__chooses_without_the_validation_part() -> None:
    table = digits(300)
    wrong = [str((int(label) + 1) % 10) if split == "validation" else label
             for label, split in zip(table.labels, table.splits, strict=True)]  # fmt: skip
    found, other = probe_features(table, seed=0), probe_features(digits(300, labels=wrong), seed=0)
    assert (other.trials, other.strength) == (found.trials, found.strength)
    assert found.linear.value > 0.85 and other.linear.value < 0.1
    best = max(trial.accuracy for trial in found.trials)
    assert [trial.accuracy for trial in found.trials if trial.strength == found.strength] == [best]


def test_probe_features__leaves_out_pictures_without_a_feature() -> None:
    table = digits(300)
    table.features[[0, 1]] = np.nan
    found = probe_features(digits(300, features=table.features, errors={0: "broken", 1: "broken"}), seed=0)
    assert (found.num_train, found.num_validation) == (199, 99)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": ["train"] * 30}, "no picture of validation can be read"),
        ({"labels": [["1"]] * 30}, r"one label each, but 0 has \['1'\]"),
        ({"labels": [None] * 30}, "but 0 has none"),
        ({"labels": [str(row) for row in range(30)]}, "two training pictures of a class"),
    ],
)
def test_probe_features__says_what_is_missing(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        probe_features(digits(30, **changes), seed=0)


def test_held_out__has_a_fifth_of_each_class() -> None:
    labels = np.repeat([0, 1, 2, 3], [50, 7, 2, 1])
    chosen = held_out(labels, seed=0)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [10, 1, 1, 0]
    assert (held_out(labels, seed=0) == chosen).all() and (held_out(labels, seed=1) != chosen).any()
