"""Early stopping beside transformers' callback, and what is refused before a run begins."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelscope_beit.settings.early_stopping import EarlyStopping, is_improvement, read_early_stopping
from modelscope_beit.settings.evaluation import EvaluationSettings, is_better
from modelscope_beit.settings.problems import Problems, Section

WATCHED = EvaluationSettings(save_best="auto")


def read(value: Any, evaluation: EvaluationSettings = WATCHED, validates: bool = True) -> tuple[Any, list[str]]:
    train = Section({"early_stopping": value}, "train", Problems())
    found = read_early_stopping(train, evaluation, validates=validates)
    return found, train.problems.wrong + list(train.problems.unknown)


def stop_of(scores: list[float], stopping: EarlyStopping, rule: str) -> int | None:
    """Returns the number of the evaluation that a run ends with, by the counting that training/milestones.py does."""
    last, fruitless = None, 0
    for number, score in enumerate(scores):
        if is_improvement(stopping, rule, "key", score, last):
            last, fruitless = score, 0
        else:
            fruitless += 1
        if fruitless >= stopping.patience:
            return number
    return None


@settings(deadline=None, max_examples=200)
@given(
    scores=st.lists(st.sampled_from([float("nan"), 0.0, 10.0, 10.5, 50.0, 99.9]), max_size=12),
    patience=st.integers(1, 4),
    rule=st.sampled_from(["greater", "less"]),
)
def test_is_improvement__stops_when_the_callback_of_transformers_does(
    scores: list[float], patience: int, rule: str
) -> None:
    transformers = pytest.importorskip("transformers", reason="it is the reference")
    callback = transformers.EarlyStoppingCallback(early_stopping_patience=patience)
    arguments, state = SimpleNamespace(greater_is_better=rule == "greater"), SimpleNamespace(best_metric=None)
    expected = None
    # Not NaN at first: the callback takes whatever comes first for an improvement.
    scores = [20.0, *scores]
    for number, score in enumerate(scores):
        callback.check_metric_value(arguments, state, None, score)
        if is_better(rule, "key", score, state.best_metric):
            state.best_metric = score
        if callback.early_stopping_patience_counter >= patience:
            expected = number
            break
    assert stop_of(scores, EarlyStopping(patience), rule) == expected


@pytest.mark.parametrize(
    ("scores", "rule", "stop"),
    [
        # As in Keras: small steps add up, measured from the last improvement.
        ([50.0, 50.4, 50.8, 51.2, 51.6], "greater", None),
        ([50.0, 50.5, 50.4, 60.0], "greater", 2),
        ([2.0, 1.6, 1.4, 1.0], "less", None),
        ([2.0, 1.4, 1.2, 1.0], "less", 3),
        ([float("nan"), float("nan"), 1.0], "greater", 1),
    ],
)
def test_is_improvement__counts_from_the_last_improvement(scores: list[float], rule: str, stop: int | None) -> None:
    assert stop_of(scores, EarlyStopping(2, min_delta=0.5), rule) == stop


@pytest.mark.parametrize("value", [None, {"patience": None}])
def test_read_early_stopping__none(value: Any) -> None:
    assert read(value) == (None, [])


def test_read_early_stopping__defaults() -> None:
    assert read({"patience": 3}) == (EarlyStopping(3, 0.0), [])
    assert read({"patience": 1, "min_delta": 0.5}) == (EarlyStopping(1, 0.5), [])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (3, "train.early_stopping is 3: a mapping is expected"),
        ({}, "train.early_stopping.patience is missing: a whole number of evaluations from 1 on"),
        ({"patience": 0}, "train.early_stopping.patience is 0"),
        ({"patience": True}, "train.early_stopping.patience is True"),
        ({"patience": 2.5}, "train.early_stopping.patience is 2.5"),
        ({"patience": 2, "min_delta": -1}, "train.early_stopping.min_delta is -1: a number of 0 or more"),
        ({"patience": 2, "mode": "max"}, "train.early_stopping.mode"),
    ],
)
def test_read_early_stopping__names_what_is_wrong(value: Any, problem: str) -> None:
    _, (found,) = read(value)
    assert found.startswith(problem)


def test_read_early_stopping__there_has_to_be_something_to_watch() -> None:
    _, (no_best,) = read({"patience": 2}, EvaluationSettings(save_best=None))
    assert "train.evaluation.save_best" in no_best and "set it to 'auto'" in no_best
    _, (no_validation,) = read({"patience": 2}, validates=False)
    assert "no_validate is true" in no_validation
