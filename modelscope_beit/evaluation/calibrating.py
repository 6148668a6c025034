"""Logits of held-out pictures -> temperature and threshold, and what they change. numpy and torch."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.calibration import Calibration, calibration
from modelscope_beit.evaluation.confidence import Interval, wilson_interval
from modelscope_beit.evaluation.temperature import fit_temperature
from modelscope_beit.evaluation.unknown import Detection, check_count, detection, fit_threshold, share_below
from modelscope_beit.network.scores import class_scores, familiarity

_ALL_RIGHT = "Every answer is right, so no temperature is too low: it was left at 1. Harder pictures would tell more."


@dataclass(frozen=True)
class Fit:
    """What was fitted to N pictures of known classes, and what it changes.

    temperature: 1 where every answer is right. unknown_below: a familiarity; see network/scores.py.
    right: share of pictures whose best class is right; those are left out, here and in the reliability, for whose best
    class the labels say "doubtful". before, after: reliability of the best classes' scores, and
    loss_before, loss_after: the mean negative log-likelihood, of several labels the sum over the classes of each
    picture; without the temperature and with it. false_alarms: the share of the pictures below the threshold.
    known, unknown: familiarities of the pictures, (N,) and (M,); detection: None where no unknown pictures were given.
    """

    temperature: float
    unknown_below: float
    right: Interval
    before: Calibration
    after: Calibration
    loss_before: float
    loss_after: float
    false_alarms: Interval
    known: np.ndarray
    unknown: np.ndarray
    detection: Detection | None
    notes: tuple[str, ...] = ()


def fit(logits: np.ndarray, labels: np.ndarray, *, false_alarm_rate: float, unknown: np.ndarray | None = None) -> Fit:
    """Returns temperature and threshold for a network whose logits of held-out pictures are given.

    logits: (N, K) float32. labels: (N,), or (N, K) of multi-label data: 1 present, 0 absent, -1 doubtful; pictures
    that have none of the classes are left out of the threshold.
    unknown: logits (M, K) of pictures of other things. They are measured and never fitted to.
    Raises SettingsError for too few pictures, for logits that are not finite, and for a network that answers no better
    than by chance: whatever is fitted to that means nothing. Of multi-label data fit_temperature is the judge of that.
    """
    is_multi_label = labels.ndim == 2
    _check_finite(logits, "pictures")
    answers = _answers(logits, labels)
    is_known = (labels == 1).any(axis=1) if is_multi_label else np.ones(len(labels), bool)
    check_count(int(is_known.sum()), false_alarm_rate)
    right = wilson_interval(int(answers.hits.sum()), len(answers.hits))
    _check_chance(right, labels, logits.shape[1])
    fitted = fit_temperature(logits, labels)
    temperature = 1.0 if fitted is None else fitted
    known = _familiarity(logits, is_multi_label)
    threshold = fit_threshold(known[is_known], false_alarm_rate)
    of_unknown = np.zeros(0)
    if unknown is not None:
        _check_finite(unknown, "unknown pictures")
        of_unknown = _familiarity(unknown, is_multi_label)
    (before, loss_before), (after, loss_after) = (
        _reliability(logits, labels, answers, value) for value in (1.0, temperature)
    )
    return Fit(
        temperature=temperature,
        unknown_below=threshold,
        right=right,
        before=before,
        after=after,
        loss_before=loss_before,
        loss_after=loss_after,
        false_alarms=share_below(known[is_known], threshold),
        known=known[is_known],
        unknown=of_unknown,
        detection=detection(known[is_known], of_unknown, threshold) if len(of_unknown) else None,
        notes=(_ALL_RIGHT,) if fitted is None else (),
    )


def _check_finite(logits: np.ndarray, of_what: str) -> None:
    if strange := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise SettingsError(
            f"The network gives logits that are not finite numbers for {strange} of {len(logits)} {of_what}; its "
            "weights are broken. Download or convert the folder again."
        )


class _Answers(NamedTuple):
    """The best classes of the pictures whose labels say whether these are right. rows, classes, hits: (A,), A <= N."""

    rows: np.ndarray
    classes: np.ndarray
    hits: np.ndarray


def _answers(logits: np.ndarray, labels: np.ndarray) -> _Answers:
    best, rows = logits.argmax(axis=1), np.arange(len(logits))
    if labels.ndim == 1:
        return _Answers(rows, best, best == labels)
    told = labels[rows, best]
    rows = np.flatnonzero(told >= 0)
    return _Answers(rows, best[rows], told[rows] == 1)


def _check_chance(right: Interval, labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim == 1 and right.low <= 1 / num_classes:
        raise SettingsError(
            f"The network names the right class of {right.value:.1%} of the pictures (95 % between {right.low:.1%} and "
            f"{right.high:.1%}), which is no better than chance among {num_classes} classes ({1 / num_classes:.1%}). "
            "Are the labels those of the model, and are there enough pictures?"
        )


def _familiarity(logits: np.ndarray, is_multi_label: bool) -> np.ndarray:
    found: np.ndarray = familiarity(torch.from_numpy(logits).double(), is_multi_label=is_multi_label).numpy()
    return found


def _reliability(
    logits: np.ndarray, labels: np.ndarray, answers: _Answers, temperature: float
) -> tuple[Calibration, float]:
    """Returns the reliability of the best classes' scores at a temperature, and the mean loss."""
    wide = torch.from_numpy(logits).double()
    scores = class_scores(wide, is_multi_label=labels.ndim == 2, temperature=temperature).numpy()
    if labels.ndim == 2:
        signs = torch.from_numpy(np.select([labels == 1, labels == 0], [1.0, -1.0], 0.0))
        losses = -torch.nn.functional.logsigmoid(signs * wide / temperature) * (signs != 0)
        loss = float(losses.sum() / len(labels))
    else:
        loss = float(torch.nn.functional.cross_entropy(wide / temperature, torch.from_numpy(labels)))
    return calibration(scores[answers.rows, answers.classes], answers.hits), loss
