"""A run so far in numbers: points of its curves and rows of its table, kept in curves.png and metrics.csv."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope_beit.training.averages import Span
from modelscope_beit.training.curves import CURVES_FILE, VALIDATION_LOSS, draw_curves
from modelscope_beit.training.log_lines import Point, read_points, short
from modelscope_beit.training.metrics_table import METRICS_FILE, STOPPED, Row, read_metrics, write_metrics

# Drawing takes about half a second.
_SECONDS_BETWEEN_DRAWINGS = 10.0


class History:
    """The table and the curves of the run in a folder; new ones, unless `resume` takes over what is there."""

    def __init__(self, work_dir: Path, title: str) -> None:
        self._work_dir = work_dir
        self._title = title
        self._points: list[Point] = []
        self._rows: list[Row] = []
        self._draw_next = 0.0
        self._is_drawn = True

    def resume(self, iteration: int, iterations_per_epoch: int | None) -> None:
        """Takes over the table and the training lines of earlier parts of the run, up to an iteration."""
        self._rows = read_metrics(self._work_dir / METRICS_FILE, until=iteration)
        for row in self._rows:
            # It goes on after all.
            row.pop(STOPPED, None)
        logs = sorted(self._work_dir.glob("*.log.json"))
        self._points = read_points(logs, until=iteration, iterations_per_epoch=iterations_per_epoch)

    def add_point(self, iteration: int, loss: float, learning_rate: float) -> None:
        """Adds a point to the curves."""
        self._points.append(Point(iteration, loss, learning_rate))
        self._is_drawn = False

    def add_training(self, iteration: int, epoch: int, span: Span, learning_rate: float) -> None:
        """Adds a row with the means over the iterations since the row before. learning_rate: the latest one."""
        self._rows.append(
            {
                "epoch": epoch,
                "iteration": iteration,
                "learning_rate": short(learning_rate),
                "train_loss": short(span.mean_loss),
                "images_per_second": short(span.images_per_second),
                "seconds": short(span.seconds),
            }
        )

    def add_evaluation(self, iteration: int, epoch: int, metrics: Mapping[str, Any], *, is_best: bool) -> None:
        """Adds the validation's metrics to the row of this iteration."""
        if not self.has_row(iteration):
            self._rows.append({"epoch": epoch, "iteration": iteration})
        row = self._rows[-1]
        row |= {VALIDATION_LOSS if name == "loss" else name: value for name, value in metrics.items()}
        row["is_best"] = is_best or bool(row.get("is_best"))

    def mark_stop(self) -> None:
        """Marks the latest row as the one that early stopping ended the run with."""
        if self._rows:
            self._rows[-1][STOPPED] = True

    def has_row(self, iteration: int) -> bool:
        """Tells whether the latest row is that of this iteration."""
        return bool(self._rows) and self._rows[-1]["iteration"] == iteration

    def has_evaluations(self) -> bool:
        """Tells whether anything was ever validated."""
        return any("is_best" in row for row in self._rows)

    def write(self) -> None:
        """Writes the table; raises CheckpointError if the disk refuses."""
        write_metrics(self._work_dir / METRICS_FILE, self._rows)
        self._is_drawn = False

    def draw(self, *, is_last: bool = False) -> None:
        """Draws the curves, unless that was done within the last ten seconds; the last time, unless they are drawn.

        Raises CheckpointError if the disk refuses.
        """
        is_due = not self._is_drawn if is_last else time.monotonic() >= self._draw_next
        if is_due:
            draw_curves(self._work_dir / CURVES_FILE, self._points, self._rows, title=self._title)
            self._draw_next = time.monotonic() + _SECONDS_BETWEEN_DRAWINGS
            self._is_drawn = True
