"""Numbers -> SVG elements for report.html: confusion matrix, reliability diagram, accuracy by coverage.

Colours are classes of report_style.py, so that light and dark pages share one drawing. What a shape means is in its
<title>, which browsers show under the pointer.
"""

from collections.abc import Sequence

import numpy as np

from modelscope_beit.evaluation.calibration import BINS, Calibration, Coverage
from modelscope_beit.evaluation.markup import percent, shortened, text

# Pixels of the drawings before the page scales them.
_LABELS_LEFT, _LABELS_TOP, _LABEL_WIDTH = 150, 120, 20
_PLOT, _MARGIN_LEFT, _MARGIN_TOP = 300, 46, 10
_HISTOGRAM, _GAP = 54, 30
# Where an axis that ends at 100% may begin, so that its fifths are round numbers.
_ROUND_STARTS = (0.0, 0.5, 0.75, 0.9, 0.95)


def confusion_drawing(cells: np.ndarray, support: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns a matrix with truths as rows and predictions as columns; the darker, the larger the share of the row.

    cells: (k, k) pictures. support: (k,) pictures of each true class, also those taken for classes not shown.
    """
    k = len(class_names)
    side = 36 if k <= 12 else 26 if k <= 24 else 17
    width, height = _LABELS_LEFT + k * side + 100, _LABELS_TOP + k * side + 4
    parts = [f'<rect class="paper" x="{_LABELS_LEFT}" y="{_LABELS_TOP}" width="{k * side}" height="{k * side}"/>']
    for number, class_name in enumerate(class_names):
        label = text(shortened(class_name, _LABEL_WIDTH))
        middle = (number + 0.5) * side
        x, y = _LABELS_LEFT + middle, _LABELS_TOP + middle
        whole = f"<title>{text(class_name)}</title>"
        parts.append(
            f'<text class="label" x="{_LABELS_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}{whole}</text>'
        )
        turn = f"translate({x + 3:.1f} {_LABELS_TOP - 6}) rotate(-50)"
        parts.append(f'<text class="label" transform="{turn}">{label}{whole}</text>')
    for row, column in np.argwhere(cells):
        tip = f"{class_names[row]} → {class_names[column]}"
        parts.append(_cell(int(row), int(column), side, int(cells[row, column]), int(support[row]), tip))
    what = f"Confusion matrix of {k} classes: rows are truths, columns predictions"
    return _svg(width, height, what, parts, wide=k > 12)


def _cell(row: int, column: int, side: int, count: int, support: int, tip: str) -> str:
    share = count / support
    # Shares of a few percent are what one looks for, so they must not be as pale as their number.
    strength = 0.12 + 0.88 * share**0.5
    x, y = _LABELS_LEFT + column * side, _LABELS_TOP + row * side
    kind = "right" if row == column else "wrong"
    words = f"<title>{text(tip)}: {count:,} of {support:,} ({percent(share)})</title>"
    square = f'<rect class="{kind}" x="{x}" y="{y}" width="{side - 1}" height="{side - 1}" opacity="{strength:.2f}"/>'
    if side < 26 or len(str(count)) * 7 > side:
        return f"<g>{words}{square}</g>"
    shade = "strong" if strength > 0.6 else "pale"
    place = f'x="{x + (side - 1) / 2}" y="{y + side / 2 + 4}" text-anchor="middle"'
    return f'<g>{words}{square}<text class="count {shade}" {place}>{count}</text></g>'


def reliability_drawing(found: Calibration) -> str:
    """Returns a bar of accuracy for every bin of scores, how far it is from the mean score, and the bins' sizes."""
    parts = _frame(lowest=0.0, across="score of the best class", upward="share that is right")
    width, base = _PLOT / BINS, _MARGIN_TOP + _PLOT
    most = max(int(found.counts.max()), 1)
    floor = base + _GAP + 16 + _HISTOGRAM
    for number in np.flatnonzero(found.counts):
        accuracy, confidence = float(found.accuracy[number]), float(found.confidence[number])
        count = int(found.counts[number])
        x = _MARGIN_LEFT + number * width
        low, high = sorted((accuracy, confidence))
        bounds = f"{percent(number / BINS, 0)} to {percent((number + 1) / BINS, 0)}"
        words = f"{count:,} pictures scored {bounds}: mean {percent(confidence)}, right {percent(accuracy)}"
        tall = _HISTOGRAM * count / most
        parts.append(
            f"<g><title>{text(words)}</title>"
            + _bar("right", x, base - accuracy * _PLOT, width, accuracy * _PLOT)
            + _bar("gap", x, base - high * _PLOT, width, (high - low) * _PLOT)
            + _bar("amount", x, floor - tall, width, tall)
            + "</g>"
        )
    diagonal = f'x1="{_MARGIN_LEFT}" y1="{base}" x2="{_MARGIN_LEFT + _PLOT}" y2="{_MARGIN_TOP}"'
    parts.append(f'<line class="ideal" {diagonal}/>')
    parts.append(f'<text class="label" x="{_MARGIN_LEFT}" y="{floor + 14}">pictures per bin, at most {most:,}</text>')
    return _svg(_MARGIN_LEFT + _PLOT + 16, floor + 20, "Reliability diagram", parts)


def coverage_drawing(curve: Coverage) -> str:
    """Returns the accuracy of the surest part of the answers, from few pictures on the left to all on the right."""
    lowest = max(start for start in _ROUND_STARTS if start <= curve.accuracy.min())
    parts = _frame(lowest=lowest, across="share of pictures answered, surest first", upward="share that is right")
    x = _MARGIN_LEFT + curve.coverage * _PLOT
    y = _MARGIN_TOP + (1 - curve.accuracy) / (1 - lowest) * _PLOT
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in zip(x, y, strict=True))
    parts.append(f'<polyline class="curve" points="{points}"/>')
    parts.append(f'<circle class="dot" cx="{x[-1]:.1f}" cy="{y[-1]:.1f}" r="4"/>')
    return _svg(_MARGIN_LEFT + _PLOT + 16, _MARGIN_TOP + _PLOT + 44, "Accuracy by coverage", parts)


def share_bar(share: float) -> str:
    """Returns a bar of the length of a share, 0 to 1, as high as a line of text."""
    filled = f'<rect class="right" width="{100 * share:.0f}" height="8"/>'
    return f'<svg class="bar" viewBox="0 0 100 8" aria-hidden="true">{filled}</svg>'


def _frame(*, lowest: float, across: str, upward: str) -> list[str]:
    """Grid and axes of a square plot: across from 0 to 100%, up from `lowest` to 100%."""
    base, end = _MARGIN_TOP + _PLOT, _MARGIN_LEFT + _PLOT
    parts = []
    for fifth in range(6):
        x, y = _MARGIN_LEFT + fifth / 5 * _PLOT, base - fifth / 5 * _PLOT
        value = percent(lowest + (1 - lowest) * fifth / 5, 0)
        parts.append(f'<line class="grid" x1="{_MARGIN_LEFT}" y1="{y}" x2="{end}" y2="{y}"/>')
        parts.append(f'<text class="label" x="{_MARGIN_LEFT - 5}" y="{y + 4}" text-anchor="end">{value}</text>')
        parts.append(f'<text class="label" x="{x}" y="{base + 16}" text-anchor="middle">{percent(fifth / 5, 0)}</text>')
    middle = _MARGIN_LEFT + _PLOT / 2
    parts.append(f'<text class="label" x="{middle}" y="{base + 33}" text-anchor="middle">{text(across)}</text>')
    turn = f"translate(10 {_MARGIN_TOP + _PLOT / 2}) rotate(-90)"
    parts.append(f'<text class="label" transform="{turn}" text-anchor="middle">{text(upward)}</text>')
    return parts


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>'


def _svg(width: float, height: float, what: str, parts: Sequence[str], *, wide: bool = False) -> str:
    """wide: too fine to be shrunk to a phone's width; the page scrolls it instead."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return (
        f'<svg class="{"wide" if wide else "fits"}" {size} role="img" aria-label="{text(what)}">{"".join(parts)}</svg>'
    )
