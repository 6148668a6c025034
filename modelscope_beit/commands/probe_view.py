"""How a probe looks on a terminal."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modelscope_beit.evaluation.confidence import CONFIDENCE, Interval
from modelscope_beit.features.probing import Probe


def probe_rows(found: Probe, *, unreadable: int, folder: Path) -> dict[str, str]:
    """Returns heading -> text, in the order in which a person reads it.

    unreadable: pictures that were left out. folder: where the files of the result are.
    """
    rows = {f"{k}-NN": _accuracy(interval) for k, interval in found.neighbours.items()}
    rows["linear probe"] = f"{_accuracy(found.linear)}  (L2 {found.strength:.2g})"
    for entry in found.shots:
        name = f"{entry.shots} picture{'s' * (entry.shots > 1)} a class"
        rows[name] = f"linear {_spread(entry.linear)}, nearest class mean {_spread(entry.class_means)}"
    rows["pictures"] = (
        f"{found.num_train:,} to learn from, {found.num_validation:,} to measure, {found.num_classes} classes"
    )
    if unreadable:
        rows["not readable"] = f"{unreadable:,} more, left out of the numbers; probe.json names them"
    if open_trials := [f"{trial.strength:.2g}" for trial in found.trials if not trial.has_converged]:
        rows["not converged"] = f"L2 {', '.join(open_trials)}"
    return {**rows, "files": str(folder)}


def _accuracy(interval: Interval) -> str:
    return f"{interval.value:.2%}  {CONFIDENCE:.0%} between {interval.low:.2%} and {interval.high:.2%}"


def _spread(accuracies: Sequence[float]) -> str:
    return f"{np.mean(accuracies):.1%} ± {np.std(accuracies):.1%}"
