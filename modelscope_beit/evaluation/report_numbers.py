"""Outcomes of an evaluation -> every number that a report tells. No pictures, no files, no markup."""

from dataclasses import dataclass

import numpy as np

from modelscope_beit.evaluation.calibration import Calibration, Coverage, calibration, coverage_curve
from modelscope_beit.evaluation.confidence import Interval, share_interval
from modelscope_beit.evaluation.confusion import (
    ClassFigures,
    ConfusedPair,
    Confusion,
    class_figures,
    count_confusions,
    most_confused_pairs,
)
from modelscope_beit.evaluation.outcomes import Outcomes

TOP = 5
_PAIRS = 20
_MISTAKES = 24


@dataclass(frozen=True)
class ReportNumbers:
    """What a report tells of N pictures of K classes.

    accuracies: k -> share of pictures with the truth among the k best classes, for k = 1 and, if K > 5, 5.
    pairs: the most frequent mistakes. mistakes: rows of the outcomes, most confident wrong answer first.
    """

    pictures: int
    accuracies: dict[int, Interval]
    confusion: Confusion
    figures: ClassFigures
    calibration: Calibration
    coverage: Coverage
    pairs: list[ConfusedPair]
    mistakes: np.ndarray

    def averages(self) -> dict[str, tuple[float, float, float]]:
        """Returns name -> (precision, recall, F1) averaged over the classes with pictures, plain and by support."""
        support = self.confusion.support
        rows = np.stack([self.figures.precision, self.figures.recall, self.figures.f1])[:, support > 0]
        weights = support[support > 0]
        plain, weighted = rows.mean(axis=1).tolist(), np.average(rows, axis=1, weights=weights).tolist()
        return {"mean over classes": tuple(plain), "mean by support": tuple(weighted)}


def report_numbers(outcomes: Outcomes) -> ReportNumbers:
    """Returns the numbers of single-label outcomes; raises ValueError if there is no picture at all."""
    num_classes = len(outcomes.class_names)
    predictions, scores = outcomes.top_classes[:, 0], outcomes.top_scores[:, 0]
    hits = predictions == outcomes.labels
    among_top = (outcomes.top_classes[:, :TOP] == outcomes.labels[:, None]).any(axis=1)
    confusion = count_confusions(outcomes.labels, predictions, num_classes)
    wrong = np.flatnonzero(~hits)
    return ReportNumbers(
        pictures=len(hits),
        accuracies={1: share_interval(hits)} | ({TOP: share_interval(among_top)} if num_classes > TOP else {}),
        confusion=confusion,
        figures=class_figures(confusion),
        calibration=calibration(scores, hits),
        coverage=coverage_curve(scores, hits),
        pairs=most_confused_pairs(confusion, _PAIRS),
        mistakes=wrong[np.argsort(-scores[wrong], kind="stable")][:_MISTAKES],
    )
