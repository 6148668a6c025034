"""How a calibration looks on a terminal."""

from pathlib import Path

from modelscope_beit.evaluation.calibrating import Fit
from modelscope_beit.evaluation.calibration_report import in_words


def calibration_rows(
    fit: Fit, false_alarm_rate: float, num_unreadable: int, stored: Path, report: Path
) -> dict[str, str]:
    """Returns heading -> text of a finished calibration, in the order in which a person reads it."""
    rows = {
        "pictures": f"{len(fit.known):,}, {in_words(fit.right, 2)} right",
        "temperature": f"{fit.temperature:.4f}",
        "calibration error": f"{fit.before.error:.2%} before, {fit.after.error:.2%} after (expected calibration error)",
        "log-likelihood": f"{-fit.loss_before:.4f} before, {-fit.loss_after:.4f} after (mean)",
        "unknown below": f"{fit.unknown_below:.4f}",
        "false alarms": f"{in_words(fit.false_alarms, 2)}; at most {false_alarm_rate:.2%} was asked for",
    }
    if (found := fit.detection) is not None:
        rows["unknown found"] = f"{in_words(found.detected, 2)} of {found.pictures:,}"
        rows["AUROC"] = f"{found.auroc:.4f}"
        rows["FPR95"] = f"{found.passed_at_95:.2%}"
    if num_unreadable:
        rows["not readable"] = f"{num_unreadable:,} more, left out of the numbers; the report names them"
    if fit.notes:
        rows["note"] = "\n".join(fit.notes)
    return {**rows, "stored in": str(stored), "report": str(report)}
