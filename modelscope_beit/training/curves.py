"""curves.png: loss and learning rate over the iterations, and the validation's metrics with the best one marked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.training.log_lines import Point
from modelscope_beit.training.metrics_table import COLUMNS, STOPPED, Row

CURVES_FILE = "curves.png"
WIDTH_PIXELS = 1200
# The validation loss of a workflow with a validation phase; it is drawn beside that of the training.
VALIDATION_LOSS = "validation_loss"

_PANEL_PIXELS = 450
_DPI = 100
_MOST_POINTS = 1000  # More than the picture has room for.
_MOST_METRICS = 6
_LOSS, _RATE, _BEST, _STOP = "#1f5fa8", "#c98b2b", "#b3202c", "#8e24aa"


def draw_curves(path: Path, points: Sequence[Point], rows: Sequence[Row], *, title: str) -> None:
    """Writes the picture, 1200 pixels wide, all or nothing.

    points: the training lines, oldest first. rows: of the metrics table; those with "is_best" are marked, the last of
    them by name, and so is one with "stopped_early". Numbers that are not finite leave gaps.
    Raises CheckpointError if the disk refuses.
    """
    # They take most of a second to import, and training should start at once. No pyplot: it keeps state for the
    # whole process, and may open windows.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = _drawn_metrics(rows)
    panels = 2 if metrics else 1
    size = (WIDTH_PIXELS / _DPI, panels * _PANEL_PIXELS / _DPI)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    # What people call a run may hold a dollar sign, which would begin a formula.
    figure.suptitle(title, fontsize=11, parse_math=False)
    _draw_training(axes[0], points, rows)
    if metrics:
        _draw_validation(axes[1], rows, metrics)
    axes[-1].set_xlabel("iteration")
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda beside: canvas.print_png(beside))


def _draw_training(axes: Any, points: Sequence[Point], rows: Sequence[Row]) -> None:
    iterations, losses, rates = _thinned(points)
    axes.plot(iterations, losses, color=_LOSS, linewidth=1.2, label="training loss")
    validation = [row for row in rows if VALIDATION_LOSS in row]
    if validation:
        axes.plot(*_line(validation, VALIDATION_LOSS), color=_BEST, marker="o", markersize=4, label="validation loss")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    right = axes.twinx()
    right.plot(iterations, rates, color=_RATE, linewidth=1.0, linestyle="--", label="learning rate")
    right.set_ylabel("learning rate", color=_RATE)
    right.set_ylim(bottom=0)
    right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    handles = [*axes.get_lines(), *right.get_lines()]
    axes.legend(handles, [handle.get_label() for handle in handles], loc="upper right")


def _draw_validation(axes: Any, rows: Sequence[Row], metrics: Sequence[str]) -> None:
    for name in metrics:
        axes.plot(*_line([row for row in rows if name in row], name), marker="o", markersize=4, label=name)
    best = [row for row in rows if row.get("is_best")][-1:]
    for row in best:
        axes.axvline(row["iteration"], color=_BEST, linewidth=0.8, linestyle=":")
        shown = [name for name in metrics if name in row]
        axes.plot(
            [row["iteration"]] * len(shown),
            [_number(row[name]) for name in shown],
            color=_BEST,
            linestyle="none",
            marker="*",
            markersize=14,
            label="best: " + ", ".join([f"epoch {row['epoch']}", *(f"{name} {row[name]:.2f}" for name in shown[:1])]),
        )
    for row in rows:
        if row.get(STOPPED):
            axes.axvline(row["iteration"], color=_STOP, linewidth=1.5, label=f"stopped early, epoch {row['epoch']}")
    axes.set_ylabel("validation")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _drawn_metrics(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Returns the columns that hold one number each; not the counts of pictures, whose scale is another."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, int | float))
    other = {*COLUMNS, VALIDATION_LOSS, STOPPED}
    return [name for name in names if name not in other and not name.startswith("support")][:_MOST_METRICS]


def _line(rows: Sequence[Row], name: str) -> tuple[list[object], list[float]]:
    return [row["iteration"] for row in rows], [_number(row[name]) for row in rows]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _thinned(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns iterations, losses and learning rates; of many points, the means of neighbours."""
    table = np.array([(point.iteration, point.loss, point.learning_rate) for point in points], np.float64)
    table = table.reshape(-1, 3)
    table[~np.isfinite(table)] = np.nan
    per_mean = -(-len(table) // _MOST_POINTS)
    if per_mean > 1:
        starts = np.arange(0, len(table), per_mean)
        counts = np.diff([*starts, len(table)])[:, None]
        table = np.add.reduceat(table, starts) / counts
    return table[:, 0], table[:, 1], table[:, 2]
