"""Outcomes of an evaluation -> everything that a report tells, as numbers and names. No files, no markup."""

from collections.abc import Mapping, Sequence
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
# From this score on a class counts as said of a picture that may have several.
SAID = 0.5


@dataclass(frozen=True)
class ReportNumbers:
    """What a report tells of N pictures of K classes.

    shares: key of the metric -> share of pictures. confusion: None where a picture may have several labels.
    calibration, coverage: of the best class and its score. mistakes: rows of the outcomes whose best class is wrong,
    the surest first.
    """

    pictures: int
    shares: dict[str, Interval]
    figures: ClassFigures
    confusion: Confusion | None
    pairs: list[ConfusedPair]
    calibration: Calibration
    coverage: Coverage
    mistakes: np.ndarray


@dataclass(frozen=True)
class Mistake:
    """A wrong answer to be shown: which picture (path or name), its small form as a data: address, what was said.

    score, truth_score: probabilities of the prediction and of the truth. picture: None if it cannot be read any more.
    """

    source: str
    truth: str
    prediction: str
    score: float
    truth_score: float
    picture: str | None


@dataclass(frozen=True)
class ReportContent:
    """What a report is made of.

    metrics: further results under ModelScope's names and in its units (percent). unreadable: (picture, reason) of
    those that are missing from the numbers.
    """

    title: str
    facts: Mapping[str, str]
    class_names: Sequence[str]
    numbers: ReportNumbers
    mistakes: Sequence[Mistake]
    metrics: Mapping[str, float]
    unreadable: Sequence[tuple[str, str]]


def report_numbers(outcomes: Outcomes) -> ReportNumbers:
    """Returns the numbers of outcomes of at least one picture.

    Data with several labels a picture have no confusion matrix; an answer is right there if the best class is one of
    the labels, and precision, recall and F1 are those of scores from SAID on, doubtful labels counting as absent (as
    in mmcls).
    """
    best, scores = outcomes.top_classes[:, 0], outcomes.top_scores[:, 0]
    confusion = None
    if outcomes.is_multi_label:
        assert outcomes.scores is not None, "multi-label outcomes have scores"
        hits = np.take_along_axis(outcomes.labels, best[:, None].astype(np.int64), axis=1)[:, 0] == 1
        shares = {"best_class_is_a_label": share_interval(hits)}
        is_said, is_true = outcomes.scores >= SAID, outcomes.labels == 1
        figures = class_figures((is_said & is_true).sum(axis=0), is_said.sum(axis=0), is_true.sum(axis=0))
    else:
        hits = best == outcomes.labels
        shares = {"accuracy_top-1": share_interval(hits)}
        if outcomes.num_classes > TOP:
            shares[f"accuracy_top-{TOP}"] = share_interval(outcomes.label_ranks < TOP)
        confusion = count_confusions(outcomes.labels, best, outcomes.num_classes)
        figures = class_figures(confusion.right, confusion.predicted, confusion.support)
    wrong = np.flatnonzero(~hits)
    return ReportNumbers(
        pictures=len(outcomes),
        shares=shares,
        figures=figures,
        confusion=confusion,
        pairs=[] if confusion is None else most_confused_pairs(confusion, _PAIRS),
        calibration=calibration(scores, hits),
        coverage=coverage_curve(scores, hits),
        mistakes=wrong[np.argsort(-scores[wrong], kind="stable")][:_MISTAKES],
    )
