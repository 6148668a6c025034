"""How an evaluation looks on a terminal: a progress bar while it runs, a table when it is done."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from modelscope_beit.evaluation.confidence import CONFIDENCE, Interval
from modelscope_beit.evaluation.hub_card import hub_card_in_words
from modelscope_beit.evaluation.of_records import Evaluation

_SECONDS_BETWEEN_DRAWINGS = 0.25
_SECONDS_BETWEEN_LINES = 30.0


class EvaluationProgress:
    """Says on stderr how far it is: a bar on a terminal, otherwise a line every half minute.

    total: pictures in all.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (BarColumn(), TextColumn("{task.fields[state]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True,
                                 redirect_stdout=False, redirect_stderr=False)  # fmt: skip
            self._task = self._bar.add_task("", total=total, state="")

    def __enter__(self) -> "EvaluationProgress":
        self._start = time.perf_counter()
        self._say_next = self._start + (0.0 if self._bar is not None else _SECONDS_BETWEEN_LINES)
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, pictures: int) -> None:
        """Counts so many more pictures as done."""
        self._done += pictures
        now = time.perf_counter()
        if now < self._say_next:
            return
        state = self._state(now - self._start)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, state=state, refresh=True)
            self._say_next = now + _SECONDS_BETWEEN_DRAWINGS
        else:
            print(state, file=sys.stderr, flush=True)
            self._say_next = now + _SECONDS_BETWEEN_LINES

    def _state(self, seconds: float) -> str:
        speed = self._done / max(seconds, 1e-9)
        left = timedelta(seconds=round((self._total - self._done) / speed)) if speed else "unknown time"
        return f"{self._done:,} of {self._total:,} pictures, {speed:.1f} images/s, {left} left"


def result_rows(found: Evaluation, intervals: Mapping[str, Interval], report: Path) -> dict[str, str]:
    """Returns heading -> text of a finished evaluation, in the order in which a person reads it.

    intervals: of some of the metrics, as shares from 0 to 1. report: the page that shows the rest.
    """
    rows = {key: _result(key, value, intervals.get(key)) for key, value in found.metrics.items()}
    if reference := found.reference():
        rows["reference"] = hub_card_in_words(reference)
    rows["pictures"] = f"{len(found.outcomes):,}"
    if found.unreadable:
        rows["not readable"] = f"{len(found.unreadable):,} more, left out of the numbers; the report names them"
    rows["time"] = f"{found.seconds:.1f} s, {found.images_per_second:.1f} images/s"
    return {**rows, "report": str(report)}


def _result(key: str, value: float, interval: Interval | None) -> str:
    if "support" in key:
        return f"{value:,.0f}"
    spread = f"{CONFIDENCE:.0%} between {interval.low:.2%} and {interval.high:.2%}" if interval else ""
    return f"{value:.3f}%  {spread}".rstrip()
