"""Answers of a network that does not exist."""

from collections.abc import Callable

import numpy as np
import pytest

from modelscope_beit.evaluation.outcomes import Outcomes


def made_up_outcomes(pictures: int, class_names: tuple[str, ...], *, strength: float = 3.0, seed: int = 0) -> Outcomes:
    """Returns outcomes of random logits; the right class gets `strength` more, its neighbour half of that."""
    rng = np.random.default_rng(seed)
    num_classes = len(class_names)
    rows = np.arange(pictures)
    labels = rng.integers(0, num_classes, pictures)
    logits = rng.normal(size=(pictures, num_classes))
    logits[rows, labels] += strength
    logits[rows, (labels + 1) % num_classes] += strength / 2
    scores = np.exp(logits)
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable").astype(np.int32)
    top = order[:, :5]
    return Outcomes(
        indices=rows,
        labels=labels,
        top_classes=top,
        top_scores=np.take_along_axis(scores, top, axis=1),
        label_scores=scores[rows, labels],
        label_ranks=np.argmax(order == labels[:, None], axis=1).astype(np.int32),
        class_names=class_names,
    )


@pytest.fixture
def make_outcomes() -> Callable[..., Outcomes]:
    """Makes outcomes of any size; see made_up_outcomes."""
    return made_up_outcomes


@pytest.fixture
def multi_label_outcomes() -> Outcomes:
    """Four pictures of three classes, sigmoid scores; -1 is a doubtful label."""
    scores = np.array([[0.9, 0.6, 0.1], [0.2, 0.8, 0.7], [0.3, 0.2, 0.4], [0.95, 0.5, 0.6]], np.float32)
    labels = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, -1, 1]], np.int8)
    order = np.argsort(-scores, axis=1, kind="stable").astype(np.int32)
    return Outcomes(
        indices=np.arange(4),
        labels=labels,
        top_classes=order,
        top_scores=np.take_along_axis(scores, order, axis=1),
        label_scores=np.array([0.9, 0.7, 0.0, 0.95], np.float32),
        label_ranks=np.array([0, 1, 3, 0], np.int32),
        class_names=("sky", "sea", "sand"),
        scores=scores,
    )
