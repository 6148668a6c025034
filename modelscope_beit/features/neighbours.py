"""Features -> the nearest pictures by cosine, and classes by a vote of neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.features.table import FeatureTable

# exp(cosine / TEMPERATURE) is a neighbour's vote: DINO (arXiv 2104.14294), facebookresearch/dino eval_knn.py.
TEMPERATURE = 0.07

_SIMILARITIES_AT_ONCE = 1 << 24


def nearest(features: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns rows (M, count) int64 of the nearest features and their cosines (M, count), nearest first.

    features: (N, C), queries: (M, C), both finite; count: at most N rows are given. A feature of zeros has cosine 0.
    """
    directions = F.normalize(features, dim=1)
    count = min(count, len(features))
    found = [
        (F.normalize(some, dim=1) @ directions.T).topk(count, dim=1)
        for some in queries.split(max(1, _SIMILARITIES_AT_ONCE // max(1, len(features))))
    ]
    return torch.cat([rows for _, rows in found]), torch.cat([cosines for cosines, _ in found])


def vote(
    features: Tensor, labels: Tensor, queries: Tensor, *, ks: Sequence[int], num_classes: int
) -> dict[int, Tensor]:
    """Returns k -> the class (M,) of each query by the weighted vote of its k nearest features.

    labels: (N,) int64, 0 to num_classes - 1. A k of more than N pictures is left out. Of equal votes the lower class
    counts. Source: DINO (arXiv 2104.14294), appendix; facebookresearch/dino eval_knn.py.
    """
    ks = [k for k in ks if k <= len(features)]
    rows, cosines = nearest(features, queries, max(ks))
    weights = (cosines / TEMPERATURE).exp()
    voted = labels[rows]  # (M, most)
    chosen = {}
    for k in ks:
        votes = weights.new_zeros(len(queries), num_classes)
        chosen[k] = votes.scatter_add_(1, voted[:, :k], weights[:, :k]).argmax(dim=1)
    return chosen


@dataclass(frozen=True)
class Neighbour:
    """A picture of a table and its cosine, -1 to 1, to another picture."""

    path: str
    label: str | list[str] | None
    cosine: float


def nearest_pictures(table: FeatureTable, query: np.ndarray, count: int) -> list[Neighbour]:
    """Returns the pictures of a table that are nearest to a feature (C,), nearest first; those with errors never."""
    there = [row for row in range(len(table.paths)) if row not in table.errors]
    rows, cosines = nearest(torch.from_numpy(table.features[there]), torch.from_numpy(query)[None], count)
    return [
        Neighbour(table.paths[there[row]], table.labels[there[row]], cosine)
        for row, cosine in zip(rows[0].tolist(), cosines[0].tolist(), strict=True)
    ]
