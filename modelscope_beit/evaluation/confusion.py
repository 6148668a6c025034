"""Who is taken for whom: counts of (truth, prediction), figures per class, and the part worth looking at.

Only pairs that occur are held: a matrix of ImageNet-22k would have 477 million cells.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Confusion:
    """How often each pair of truth and prediction occurs. The arrays are (M,), M pairs, ordered by truth, prediction.

    truths, predictions: class numbers, 0 to K - 1. counts: pictures, at least 1 each.
    """

    truths: np.ndarray
    predictions: np.ndarray
    counts: np.ndarray
    num_classes: int

    @cached_property
    def support(self) -> np.ndarray:
        """(K,): pictures of each class."""
        return self._per_class(self.truths, self.counts)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(K,): pictures that were taken for each class, rightly or not."""
        return self._per_class(self.predictions, self.counts)

    @cached_property
    def right(self) -> np.ndarray:
        """(K,): pictures of each class that were recognised."""
        return self._per_class(self.truths, self.counts * (self.truths == self.predictions))

    def _per_class(self, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.bincount(classes, weights=counts, minlength=self.num_classes).astype(np.int64)

    def block(self, classes: np.ndarray) -> np.ndarray:
        """Returns the (k, k) cells of k distinct classes in their order: rows are truths, columns predictions."""
        place = np.full(self.num_classes, -1)
        place[classes] = np.arange(classes.size)
        rows, columns = place[self.truths], place[self.predictions]
        inside = (rows >= 0) & (columns >= 0)
        cells = np.zeros((classes.size, classes.size), np.int64)
        cells[rows[inside], columns[inside]] = self.counts[inside]
        return cells


def count_confusions(truths: np.ndarray, predictions: np.ndarray, num_classes: int) -> Confusion:
    """Returns the counts of the pairs. truths, predictions: (N,) class numbers, 0 to K - 1."""
    pairs, counts = np.unique(truths.astype(np.int64) * num_classes + predictions, return_counts=True)
    return Confusion(pairs // num_classes, pairs % num_classes, counts, num_classes)


@dataclass(frozen=True)
class ClassFigures:
    """Figures per class, each (K,).

    support: pictures of the class. predicted: pictures that were taken for it, rightly or not. precision, recall, f1:
    0 to 1; 0 where the denominator is 0, as mmcls and scikit-learn have it.
    """

    support: np.ndarray
    predicted: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    def averages(self) -> dict[str, tuple[float, float, float]]:
        """Returns what is averaged how -> (precision, recall, f1), over the classes that have pictures."""
        is_there = self.support > 0
        rows = np.stack([self.precision, self.recall, self.f1])[:, is_there]  # (3, classes)
        if not rows.size:
            return {}
        weighted = rows @ (self.support[is_there] / self.support.sum())
        return {"mean over classes": tuple(rows.mean(axis=1).tolist()), "mean by support": tuple(weighted.tolist())}


def class_figures(right: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> ClassFigures:
    """Returns the figures of classes (K,) from numbers of pictures: recognised, taken for the class, of the class."""
    return ClassFigures(
        support=support,
        predicted=predicted,
        precision=_ratio(right, predicted),
        recall=_ratio(right, support),
        f1=_ratio(2 * right, predicted + support),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


@dataclass(frozen=True)
class ConfusedPair:
    """So many pictures of one class were taken for another; share: of the pictures of the true class."""

    truth: int
    prediction: int
    count: int
    share: float


def most_confused_pairs(confusion: Confusion, limit: int) -> list[ConfusedPair]:
    """Returns the most frequent mistakes, at most `limit`: by count, then by share, then by class numbers."""
    wrong = np.flatnonzero(confusion.truths != confusion.predictions)
    shares = confusion.counts[wrong] / confusion.support[confusion.truths[wrong]]
    order = np.lexsort((shares * -1, -confusion.counts[wrong]))[:limit]
    return [
        ConfusedPair(
            int(confusion.truths[pair]), int(confusion.predictions[pair]), int(confusion.counts[pair]), float(share)
        )
        for pair, share in zip(wrong[order], shares[order], strict=True)
    ]


def most_confused_classes(confusion: Confusion, limit: int) -> np.ndarray:
    """Returns at most `limit` class numbers, those that are taken for each other most often, friends side by side.

    The pairs are gone through by how often the two are confused in either direction, and the classes of each are added
    until there are enough. Fewer come back if fewer are ever confused.
    """
    wrong = confusion.truths != confusion.predictions
    low = np.minimum(confusion.truths[wrong], confusion.predictions[wrong])
    high = np.maximum(confusion.truths[wrong], confusion.predictions[wrong])
    pairs, place = np.unique(low * confusion.num_classes + high, return_inverse=True)
    counts = np.bincount(place, weights=confusion.counts[wrong])
    chosen: dict[int, None] = {}
    for pair in pairs[np.argsort(-counts, kind="stable")]:
        both = [number for number in divmod(int(pair), confusion.num_classes) if number not in chosen]
        if len(chosen) + len(both) > limit:
            break
        chosen.update(dict.fromkeys(both))
    return np.array(list(chosen), np.int64)
