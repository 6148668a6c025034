"""Numbers -> SVG elements for report.html: confusion matrix, reliability diagram, accuracy by coverage.

Colours are classes of report_style.py, so that light and dark pages share one drawing. What a shape means is in its
<title>, which browsers show under the pointer.
"""

import math
from collections.abc import Sequence

import numpy as np

from modelscope_beit.evaluation.calibration import BINS, Calibration, Coverage
from modelscope_beit.evaluation.markup import percent, shortened, text, width_of

# Pixels of the drawings before the page scales them.
_MOST_LETTERS, _LETTER, _LABEL_ANGLE = 20, 7, math.radians(50)
_PLOT, _MARGIN_LEFT, _MARGIN_TOP, _MARGIN_RIGHT = 300, 58, 10, 20
_HISTOGRAM, _GAP = 54, 30
# The accuracy of fewer pictures than these says little; their bin is drawn pale.
FEW = 10
# Where an axis that ends at 100% may begin, so that its fifths are round numbers.
_ROUND_STARTS = (0.0, 0.5, 0.75, 0.9, 0.95)


def confusion_drawing(cells: np.ndarray, support: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns a matrix with truths as rows and predictions as columns; the darker, the larger the share of the row.

    cells: (k, k) pictures. support: (k,) pictures of each true class, also those taken for classes not shown.
    """
    k = len(class_names)
    side = 36 if k <= 12 else 26 if k <= 24 else 17
    labels = [shortened(class_name, _MOST_LETTERS) for class_name in class_names]
    longest = _LETTER * max(map(width_of, labels))
    left, top = longest + 8, round(longest * math.sin(_LABEL_ANGLE)) + 16
    past_the_end = max(round(longest * math.cos(_LABEL_ANGLE)) + 8 - side // 2, 4)
    parts = [f'<rect class="paper" x="{left}" y="{top}" width="{k * side}" height="{k * side}"/>']
    for number, (label, class_name) in enumerate(zip(labels, class_names, strict=True)):
        middle = (number + 0.5) * side
        words = f"{text(label)}<title>{text(class_name)}</title>"
        parts.append(f'<text class="label" x="{left - 6}" y="{top + middle + 4:.1f}" text-anchor="end">{words}</text>')
        turn = f"translate({left + middle + 3:.1f} {top - 6}) rotate({-math.degrees(_LABEL_ANGLE):.0f})"
        parts.append(f'<text class="label" transform="{turn}">{words}</text>')
    for row, column in np.argwhere(cells):
        tip = f"{class_names[row]} → {class_names[column]}"
        x, y = left + int(column) * side, top + int(row) * side
        kind = "right" if row == column else "wrong"
        parts.append(_cell(kind, x, y, side, int(cells[row, column]), int(support[row]), tip))
    what = f"Confusion matrix of {k} classes: rows are truths, columns predictions"
    return svg(left + k * side + past_the_end, top + k * side + 4, what, parts, wide=k > 12)


def _cell(kind: str, x: int, y: int, side: int, count: int, support: int, tip: str) -> str:
    share = count / support
    # Shares of a few percent are what one looks for, so they must not be as pale as their number.
    strength = 0.12 + 0.88 * share**0.5
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
        few = ' class="few"' if count < FEW else ""
        parts.append(
            f"<g{few}><title>{text(words)}</title>"
            + _bar("right", x, base - accuracy * _PLOT, width, accuracy * _PLOT)
            + _bar("wrong", x + width / 3, base - high * _PLOT, width / 3, (high - low) * _PLOT)
            + _bar("amount", x, floor - tall, width, tall)
            + "</g>"
        )
    diagonal = f'x1="{_MARGIN_LEFT}" y1="{base}" x2="{_MARGIN_LEFT + _PLOT}" y2="{_MARGIN_TOP}"'
    parts.append(f'<line class="ideal" {diagonal}/>')
    parts.append(f'<text class="label" x="{_MARGIN_LEFT}" y="{floor + 14}">pictures per bin, at most {most:,}</text>')
    return svg(_MARGIN_LEFT + _PLOT + _MARGIN_RIGHT, floor + 20, "Reliability diagram", parts)


def coverage_drawing(curve: Coverage) -> str:
    """Returns the accuracy of the surest part of the answers, from few pictures on the left to all on the right."""
    lowest = max(start for start in _ROUND_STARTS if start <= curve.accuracy.min())
    parts = _frame(lowest=lowest, across="share of pictures answered, surest first", upward="share that is right")
    x = _MARGIN_LEFT + curve.coverage * _PLOT
    y = _MARGIN_TOP + (1 - curve.accuracy) / (1 - lowest) * _PLOT
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in zip(x, y, strict=True))
    parts.append(f'<polyline class="curve" points="{points}"/>')
    parts.append(f'<circle class="dot" cx="{x[-1]:.1f}" cy="{y[-1]:.1f}" r="4"/>')
    return svg(_MARGIN_LEFT + _PLOT + _MARGIN_RIGHT, _MARGIN_TOP + _PLOT + 44, "Accuracy by coverage", parts)


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
    turn = f"translate(12 {_MARGIN_TOP + _PLOT / 2}) rotate(-90)"
    parts.append(f'<text class="label" transform="{turn}" text-anchor="middle">{text(upward)}</text>')
    return parts


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>'


def svg(width: float, height: float, what: str, parts: Sequence[str], *, wide: bool = False) -> str:
    """wide: too fine to be shrunk to a phone's width; the page scrolls it instead."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return (
        f'<svg class="{"wide" if wide else "fits"}" {size} role="img" aria-label="{text(what)}">{"".join(parts)}</svg>'
    )
