"""resources/confusion.png: which classes are taken for which, as shares of the pictures of each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from modelscope_beit.prediction.lettering import find_inscriptions

# With more classes names would be too small to read; the picture then shows the matrix alone.
_MOST_NAMED = 40
_MOST_NUMBERED = 15
_LONGEST_NAME = 24
_DPI = 120


def draw_confusion(path: Path, cells: Sequence[tuple[int, int, int]], class_names: Sequence[str]) -> None:
    """Writes the picture.

    cells: (truth, prediction, pictures) by number of the class; pairs that do not occur may be left out. A class
    without pictures has an empty row.
    """
    counts = np.zeros((len(class_names), len(class_names)))
    for truth, prediction, pictures in cells:
        counts[truth, prediction] = pictures
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_named = len(class_names) <= _MOST_NAMED
    side = min(14.0, 4.0 + 0.35 * len(class_names)) if is_named else 9.0
    figure = Figure(figsize=(side + 1, side), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the pictures of a class")
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    if is_named:
        _name_classes(axes, class_names)
    if len(class_names) <= _MOST_NUMBERED:
        for truth, prediction in np.argwhere(counts > 0):
            color = "white" if shares[truth, prediction] > 0.5 else "black"
            axes.text(prediction, truth, f"{counts[truth, prediction]:.0f}", ha="center", va="center", color=color)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    found = find_inscriptions(class_names)
    for axis, rotation in ((axes.xaxis, 90), (axes.yaxis, 0)):
        texts = [found[name].text for name in class_names]
        short = [text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…" for text in texts]
        # What people call a class may hold a dollar sign, which would begin a formula.
        axis.set_ticks(range(len(short)), short, rotation=rotation, parse_math=False)
        for label, name in zip(axis.get_ticklabels(), class_names, strict=True):
            label.set_fontproperties(FontProperties(fname=found[name].font_file, size=9))
