"""The threshold below which a picture is called unknown, and how well it finds pictures of other things. numpy only."""

import math
from dataclasses import dataclass

import numpy as np

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.confidence import Interval, wilson_interval

# Fewer false alarms than these among the pictures say too little about the rate.
LEAST_ALARMS = 5
# Of the known pictures, for the rate of unknown ones that pass with them.
_KEPT = 0.95


@dataclass(frozen=True)
class Detection:
    """How well a number tells known pictures, (N,), from unknown ones, (M,).

    pictures: M. auroc: the chance that a known picture has more than an unknown one. detected: the share of unknown
    pictures below the threshold. passed_at_95: of those that pass where 95 % of the known ones do (FPR95).
    """

    pictures: int
    auroc: float
    detected: Interval
    passed_at_95: float


def fit_threshold(known: np.ndarray, false_alarm_rate: float) -> float:
    """Returns the threshold below which at most this share of known pictures lies.

    known: (N,), of held-out pictures of known classes. The threshold is the one of them at place
    floor(rate * (N + 1)) from below; the chance that another picture of the same kind lies below it is at most the
    rate, whatever the distribution. Source: split conformal prediction (Papadopoulos et al. 2002; Vovk et al. 2005).
    Raises SettingsError as check_count does.
    """
    check_count(len(known), false_alarm_rate)
    place = math.floor(false_alarm_rate * (len(known) + 1))
    return float(np.sort(known)[place - 1])


def check_count(pictures: int, false_alarm_rate: float) -> None:
    """Raises SettingsError for a rate that is no share, and for too few pictures of known classes.

    So many are needed that LEAST_ALARMS of them may lie below the threshold.
    """
    if not 0 < false_alarm_rate < 1:
        raise SettingsError(f"The rate of false alarms must be between 0 and 1, not {false_alarm_rate}; e.g. 0.05.")
    needed = math.ceil(LEAST_ALARMS / false_alarm_rate) - 1
    if pictures < needed:
        raise SettingsError(
            f"A threshold with a false-alarm rate of {false_alarm_rate:g} needs at least {needed:,} pictures of known "
            f"classes, so that {LEAST_ALARMS} false alarms can be expected, but there are {pictures:,}. Give more, or "
            "allow a higher rate."
        )


def share_below(values: np.ndarray, threshold: float) -> Interval:
    """Returns the share of values, (N,), below a threshold, with its Wilson interval."""
    return wilson_interval(int((values < threshold).sum()), len(values))


def detection(known: np.ndarray, unknown: np.ndarray, threshold: float) -> Detection:
    """Returns how well the threshold, and any other one, tells known pictures (N,) from unknown ones (M,)."""
    return Detection(
        pictures=len(unknown),
        auroc=_auroc(known, unknown),
        detected=share_below(unknown, threshold),
        # The largest threshold that still keeps so many.
        passed_at_95=float((unknown >= np.sort(known)[math.floor((1 - _KEPT) * len(known) + 1e-9)]).mean()),
    )


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """The share of pairs in order, ties counting half: the area under the receiver operating characteristic."""
    ordered = np.sort(unknown)
    below, up_to = (np.searchsorted(ordered, known, side=side) for side in ("left", "right"))
    return float((below + up_to).sum() / (2 * len(known) * len(unknown)))
