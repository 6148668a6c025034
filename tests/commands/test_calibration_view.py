"""The table that a person reads."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from modelscope_beit.commands.calibration_view import calibration_rows
from modelscope_beit.evaluation.calibrating import fit


def test_calibration_rows__has_what_was_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 4))
    labels = (2 * logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    found = fit(logits.astype(np.float32), labels, false_alarm_rate=0.05, unknown=np.zeros((9, 4), np.float32))
    rows = calibration_rows(found, 0.05, 3, Path("model"), Path("page.html"))
    assert rows["temperature"] == f"{found.temperature:.4f}"
    assert rows["calibration error"].startswith(f"{found.before.error:.2%} before, {found.after.error:.2%} after")
    assert rows["false alarms"].startswith("4.67% (") and "at most 5.00%" in rows["false alarms"]
    assert rows["unknown found"].endswith("of 9") and rows["not readable"].startswith("3 more")
    assert rows["stored in"] == "model" and rows["report"] == "page.html" and "note" not in rows
    without = calibration_rows(replace(found, detection=None, notes=("mind",)), 0.05, 0, Path("m"), Path("p"))
    assert "AUROC" not in without and "not readable" not in without and without["note"] == "mind"
