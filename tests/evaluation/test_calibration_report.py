"""The page and its numbers; what others named stays text."""

import json
from pathlib import Path

import numpy as np
import pytest

from modelscope_beit.evaluation.calibrating import Fit, fit
from modelscope_beit.evaluation.calibration_report import fit_numbers, in_words, write_calibration_report
from modelscope_beit.evaluation.confidence import Interval


@pytest.fixture(scope="module")
def found() -> Fit:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 5))
    labels = (3 * logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    unknown = rng.normal(size=(90, 5)).astype(np.float32) - 1
    return fit(logits.astype(np.float32), labels, false_alarm_rate=0.05, unknown=unknown)


def test_write_calibration_report__page_and_numbers(found: Fit, tmp_path: Path) -> None:
    facts = {"Data": "<b>photos</b>"}
    page = write_calibration_report(
        tmp_path / "new", found, title="a & b", facts=facts, unreadable=[("x.jpg", "it is <empty>")]
    )
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "new" / "calibration.html"
    assert "a &amp; b" in text and "&lt;b&gt;photos&lt;/b&gt;" in text and "it is &lt;empty&gt;" in text
    assert text.count("Reliability diagram") == 2 and "Histograms of how familiar" in text
    assert f"{found.before.error:.2%}" in text and f"{found.after.error:.2%}" in text
    assert found.detection is not None and f"{found.detection.auroc:.4f}" in text
    numbers = json.loads((tmp_path / "new" / "calibration.json").read_text(encoding="utf-8"))
    assert numbers["temperature"] == found.temperature and numbers["unreadable"] == 1
    assert numbers["after"]["expected_calibration_error"] == found.after.error
    assert numbers["detection"]["passed_at_95"] == found.detection.passed_at_95
    assert sum(numbers["before"]["counts"]) == 400
    assert "Versions" in numbers["facts"]


def test_write_calibration_report__without_unknown_pictures_says_so(found: Fit, tmp_path: Path) -> None:
    logits = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    labels = np.where(np.arange(300) % 5, logits.argmax(1), 0)
    only_known = fit(logits, labels, false_alarm_rate=0.05)
    text = write_calibration_report(tmp_path, only_known, title="t", facts={}).read_text(encoding="utf-8")
    assert "was not measured" in text and "AUROC" not in text
    assert fit_numbers(only_known)["detection"] is None


def test_in_words__has_the_bounds() -> None:
    assert in_words(Interval(0.05, 0.041, 0.06)) == "5.0% (4.1% to 6.0%)"
