"""How well features serve when each class has a few pictures: several draws of them, trained at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.features.linear_models import fit_linear_models

SHOTS = (1, 2, 5, 10, 20)
DRAWS = 5


@dataclass(frozen=True)
class FewShots:
    """Accuracies, 0 to 1, one a draw, of classifiers that had `shots` pictures a class.

    linear: logistic regression, C = 1 as scikit-learn has it by default. class_means: the class whose mean direction
    is nearest, after Y. Wang et al., SimpleShot (arXiv 1911.04623), centred by the pictures of the draw.
    """

    shots: int
    linear: tuple[float, ...]
    class_means: tuple[float, ...]


def few_shot_curve(
    features: Tensor,
    labels: Tensor,
    queries: Tensor,
    answers: Tensor,
    *,
    num_classes: int,
    seed: int,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
) -> list[FewShots]:
    """Returns one entry for each number of shots that every class of `labels` has.

    features: (N, C) with labels (N,); queries: (M, C) with answers (M,). A draw's larger sets contain its smaller ones.
    """
    known = torch.unique(labels)
    counts = torch.bincount(labels, minlength=num_classes)[known]
    orders = _orders(labels.cpu().numpy(), seed=seed, draws=draws)
    curve = []
    for number in (number for number in shots if number <= int(counts.min())):
        rows = torch.from_numpy(np.stack([np.concatenate([own[:number] for own in order]) for order in orders]))
        chosen, truths = features[rows], labels[rows]  # (draws, n, C), (draws, n)
        strengths = torch.full((draws,), 1 / rows.shape[1])
        models = fit_linear_models(chosen, truths, strengths, num_classes=num_classes)
        linear = [_share_right(models.logits(queries, draw), answers) for draw in range(draws)]
        means = [
            _share_right(_closeness(chosen[draw], truths[draw], queries, known, num_classes), answers)
            for draw in range(draws)
        ]
        curve.append(FewShots(number, tuple(linear), tuple(means)))
    return curve


def _orders(labels: np.ndarray, *, seed: int, draws: int) -> list[list[np.ndarray]]:
    """Returns for each draw the rows of every class, shuffled."""
    rng = np.random.default_rng(seed)
    return [[rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)] for _ in range(draws)]


def _closeness(features: Tensor, labels: Tensor, queries: Tensor, known: Tensor, num_classes: int) -> Tensor:
    """Returns (M, K): cosine of the queries (M, C) and the classes' mean directions; -inf for classes not known."""
    center = features.mean(dim=0)
    directions = F.normalize(features - center, dim=1)
    means = torch.stack([directions[labels == label].mean(dim=0) for label in known])
    cosines = F.normalize(queries - center, dim=1) @ F.normalize(means, dim=1).T
    closeness = cosines.new_full((len(queries), num_classes), -torch.inf)
    closeness[:, known] = cosines
    return closeness


def _share_right(scores: Tensor, answers: Tensor) -> float:
    return float((scores.argmax(dim=1) == answers).double().mean())
