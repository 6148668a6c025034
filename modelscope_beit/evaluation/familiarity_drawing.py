"""How familiar known and unknown pictures are to a network, as two histograms over each other -> an SVG element."""

import numpy as np

from modelscope_beit.evaluation.drawings import svg
from modelscope_beit.evaluation.markup import percent, text

_BINS = 40
# Pixels of the drawing before the page scales it.
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 560, 110, 20, 18, 44
# What lies further out than this share of the pictures at either end is drawn at the end.
_CUT = 0.002


def familiarity_drawing(known: np.ndarray, unknown: np.ndarray, threshold: float) -> str:
    """Returns a histogram of known pictures (N,), below it one of unknown ones (M,) if there are any.

    What is below the threshold, and so called unknown, is orange.
    """
    both = np.concatenate([known, unknown])
    low, high = np.quantile(both, [_CUT, 1 - _CUT])
    low, high = min(float(low), threshold), max(float(high), threshold + 1e-9)
    # The threshold is an edge of bins, so that no bar has two meanings.
    step = (high - low) / _BINS
    edges = threshold + step * np.arange(np.floor((low - threshold) / step), np.ceil((high - threshold) / step) + 1)
    rows = [("known", known)] + ([("unknown", unknown)] if len(unknown) else [])
    parts = []
    for number, (what, values) in enumerate(rows):
        top = _TOP + number * (_HEIGHT + _GAP)
        parts += _row(what, values, edges, threshold, top)
    bottom = _TOP + len(rows) * (_HEIGHT + _GAP)
    x = _across(threshold, edges)
    parts.append(f'<line class="ideal" x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom - _GAP}"/>')
    parts.append(f'<text class="label" x="{x + 4:.1f}" y="{_TOP - 6}">threshold {threshold:.3g}</text>')
    return svg(_LEFT + _WIDTH + 20, bottom, "Histograms of how familiar pictures are", parts)


def _row(what: str, values: np.ndarray, edges: np.ndarray, threshold: float, top: int) -> list[str]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    base, most = top + _HEIGHT, max(int(counts.max()), 1)
    parts = [f'<line class="grid" x1="{_LEFT}" y1="{base}" x2="{_LEFT + _WIDTH}" y2="{base}"/>']
    for place in np.flatnonzero(counts):
        left, right = (_across(float(edge), edges) for edge in edges[place : place + 2])
        tall = _HEIGHT * int(counts[place]) / most
        kind = "wrong" if edges[place : place + 2].mean() < threshold else "right"
        words = f"{int(counts[place]):,} {what} pictures from {edges[place]:.3g} to {edges[place + 1]:.3g}"
        parts.append(
            f'<rect class="{kind}" x="{left + 0.5:.1f}" y="{base - tall:.1f}" width="{right - left - 1:.1f}" '
            f'height="{tall:.1f}"><title>{text(words)}</title></rect>'
        )
    below = float((values < threshold).mean())
    words = f"{len(values):,} {what} pictures, {percent(below)} below the threshold"
    parts.append(f'<text class="label" x="{_LEFT}" y="{base + 30}">{text(words)}</text>')
    for edge in np.linspace(edges[0], edges[-1], 6):
        x = _across(float(edge), edges)
        parts.append(f'<text class="label" x="{x:.1f}" y="{base + 15}" text-anchor="middle">{edge:.3g}</text>')
    return parts


def _across(value: float, edges: np.ndarray) -> float:
    return _LEFT + _WIDTH * (value - float(edges[0])) / float(edges[-1] - edges[0])
