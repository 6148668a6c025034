"""What a network answered for every picture of a data set, as little of it as metrics and reports need. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from modelscope_beit.errors import SettingsError


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The answers for N pictures, ordered by their place in the data.

    indices: (N,) int64, place of each picture in the data; ascending, each once.
    labels: (N,) int64 class numbers; for multi-label data (N, K) int8: 1 present, 0 absent, -1 doubtful.
    top_classes, top_scores: (N, t) int32 and float32, the t best classes and their probabilities, best first.
    label_scores: (N,) float32, the probability of the right class.
    label_ranks: (N,) int32, its place in the order of scores, 0 the best, K - 1 the worst. For multi-label data both
        are those of the best placed class that is present; 0.0 and K where none is.
    class_names: K names, in the order of class numbers.
    scores: (N, K) float32 for multi-label data, otherwise None.

    Classes with equal scores are ordered by their number, in ranks and among the best, so the result does not depend
    on device or library; torch.topk promises no order for them.
    """

    indices: np.ndarray
    labels: np.ndarray
    top_classes: np.ndarray
    top_scores: np.ndarray
    label_scores: np.ndarray
    label_ranks: np.ndarray
    class_names: tuple[str, ...]
    scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def is_multi_label(self) -> bool:
        """Whether a picture may have several labels."""
        return self.scores is not None

    @cached_property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Returns the outcomes of several parts of a data set as one, ordered by index.

    Raises SettingsError if there is not a single picture.
    """
    if not any(len(part) for part in parts):
        raise SettingsError("There is nothing to evaluate: the data have no picture.")
    indices = np.concatenate([part.indices for part in parts])
    order = np.argsort(indices, kind="stable")
    assert np.all(np.diff(indices[order]) > 0), "no picture may be measured twice"

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    return Outcomes(
        indices=indices[order],
        labels=column("labels"),
        top_classes=column("top_classes"),
        top_scores=column("top_scores"),
        label_scores=column("label_scores"),
        label_ranks=column("label_ranks"),
        class_names=parts[0].class_names,
        scores=column("scores") if parts[0].is_multi_label else None,
    )
