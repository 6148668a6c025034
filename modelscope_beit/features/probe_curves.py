"""curves.png of a probe: accuracy by pictures a class, and by the strength of the penalty."""

from pathlib import Path
from typing import Any

import numpy as np

from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.features.probing import Probe

WIDTH_PIXELS, HEIGHT_PIXELS = 1200, 450

_DPI = 100
_LINEAR, _MEANS, _CHOSEN = "#1f5fa8", "#c98b2b", "#b3202c"


def draw_probe_curves(path: Path, found: Probe, *, title: str) -> None:
    """Writes the picture, all or nothing; raises CheckpointError if the disk refuses.

    Left: mean and standard deviation over the draws. Right: the held-out part, with the chosen strength.
    """
    # They take most of a second to import. No pyplot: it keeps state for the process, and may open windows.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_PIXELS / _DPI, HEIGHT_PIXELS / _DPI), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    # What people call their data may hold a dollar sign, which would begin a formula.
    figure.suptitle(title, fontsize=11, parse_math=False)
    _draw_shots(left, found)
    _draw_strengths(right, found)
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda beside: canvas.print_png(beside))


def _draw_shots(axes: Any, found: Probe) -> None:
    shots = [entry.shots for entry in found.shots]
    curves = (
        ("linear probe", [entry.linear for entry in found.shots], _LINEAR),
        ("nearest class mean", [entry.class_means for entry in found.shots], _MEANS),
    )
    for name, accuracies, color in curves:
        if shots:
            percent = 100 * np.array(accuracies)
            mean, spread = percent.mean(axis=1), percent.std(axis=1)
            axes.plot(shots, mean, color=color, marker="o", markersize=4, label=name)
            axes.fill_between(shots, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
    axes.axhline(
        100 * found.linear.value, color=_LINEAR, linewidth=1.0, linestyle="--",
        label=f"linear probe on all {found.num_train:,}",
    )  # fmt: skip
    if shots:
        axes.set_xscale("log")
        axes.set_xticks(shots, [str(number) for number in shots])
        axes.minorticks_off()
    axes.set_xlabel("training pictures a class")
    axes.set_ylabel("validation accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _draw_strengths(axes: Any, found: Probe) -> None:
    strengths = [trial.strength for trial in found.trials]
    axes.plot(strengths, [100 * trial.accuracy for trial in found.trials], color=_LINEAR, marker="o", markersize=4)
    axes.axvline(found.strength, color=_CHOSEN, linewidth=1.0, linestyle=":", label=f"chosen: {found.strength:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("strength of the L2 penalty")
    axes.set_ylabel("held-out accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
