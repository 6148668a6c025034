"""Progress on a terminal and in a log; the rows of the result."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelscope_beit.commands import evaluation_view
from modelscope_beit.commands.evaluation_view import EvaluationProgress, result_rows
from modelscope_beit.evaluation.confidence import Interval


class Clock:
    """A time that goes on by so many seconds at each look."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def perf_counter(self) -> float:
        self.now += self.seconds
        return self.now


class TerminalText(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress__says_a_line_every_half_minute_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation_view, "time", Clock(10.0))
    with EvaluationProgress(1000) as progress:
        for _ in range(7):
            progress.advance(100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "300 of 1,000 pictures, 10.0 images/s, 0:01:10 left",
        "600 of 1,000 pictures, 10.0 images/s, 0:00:40 left",
    ]


def test_progress__draws_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TerminalText()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(evaluation_view, "time", Clock(1.0))
    with EvaluationProgress(50) as progress:
        progress.advance(20)
    assert "20 of 50 pictures, 20.0 images/s, 0:00:02 left" in stream.getvalue()


def found(**changes: object) -> SimpleNamespace:
    values = {
        "metrics": {"accuracy_top-1": 88.0, "support": 1234.0},
        "outcomes": range(1234),
        "unreadable": [],
        "seconds": 10.0,
        "images_per_second": 123.4,
        "reference": lambda: None,
    }
    return SimpleNamespace(**values | changes)


def test_result_rows__show_metrics_interval_and_speed() -> None:
    rows = result_rows(found(), {"accuracy_top-1": Interval(0.88, 0.8612, 0.8977)}, Path("out/report.html"))  # type: ignore[arg-type]
    assert rows == {
        "accuracy_top-1": "88.000%  95% between 86.12% and 89.77%",
        "support": "1,234",
        "pictures": "1,234",
        "time": "10.0 s, 123.4 images/s",
        "report": str(Path("out/report.html")),
    }


def test_result_rows__show_what_is_missing_and_whose_the_reference_is() -> None:
    result = found(unreadable=[("a", "b")] * 3, reference=lambda: {"accuracy_top-1": 88.356})
    rows = result_rows(result, {}, Path("report.html"))  # type: ignore[arg-type]
    assert rows["not readable"].startswith("3 more, left out of the numbers")
    assert rows["reference"].startswith("accuracy_top-1 88.356% (the hub's card")
    assert rows["accuracy_top-1"] == "88.000%"
