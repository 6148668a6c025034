"""The parts of report.html, each from the content of a report to markup."""

from collections.abc import Sequence

import numpy as np

from modelscope_beit.evaluation import drawings
from modelscope_beit.evaluation.calibration import BINS, Coverage
from modelscope_beit.evaluation.confusion import ConfusedPair, Confusion, most_confused_classes
from modelscope_beit.evaluation.markup import name, path, percent, table, text
from modelscope_beit.evaluation.report_content import Mistake, ReportNumbers

MOST_IN_MATRIX = 40
MOST_ROWS = 2000
_MOST_UNREADABLE_TOLD = 50
_ROWS_WITHOUT_SCROLLING = 30


def matrix(confusion: Confusion, class_names: Sequence[str]) -> str:
    """Returns the confusion matrix; of more than MOST_IN_MATRIX classes those that are confused most often."""
    words = "Rows are the truth, columns what the network said; blue is right, orange wrong."
    chosen = np.arange(confusion.num_classes)
    if confusion.num_classes > MOST_IN_MATRIX:
        chosen = most_confused_classes(confusion, MOST_IN_MATRIX)
        words = (
            f"The {chosen.size} of {confusion.num_classes:,} classes that are taken for each other most often. "
            f"{words} Shares are of all pictures of the row's class, also of those taken for a class not shown."
        )
    if not chosen.size:
        return "<p>No picture was taken for one of another class.</p>"
    shown_names = [class_names[number] for number in chosen.tolist()]
    drawing = drawings.confusion_drawing(confusion.block(chosen), confusion.support[chosen], shown_names)
    return f'<p class="faded">{words}</p><div class="scrolls">{drawing}</div>'


def frequent_mistakes(pairs: Sequence[ConfusedPair], class_names: Sequence[str]) -> str:
    """Returns a table of the classes that are taken for each other most often."""
    if not pairs:
        return "<p>There are none.</p>"
    rows = [
        [name(class_names[pair.truth]), name(class_names[pair.prediction]), f"{pair.count:,}", percent(pair.share)]
        for pair in pairs
    ]
    return f'<div class="scrolls">{table(["truth", "taken for", "pictures", "of the class"], rows, words=2)}</div>'


def confident_mistakes(mistakes: Sequence[Mistake]) -> str:
    """Returns the pictures of the surest wrong answers."""
    if not mistakes:
        return "<p>There are none.</p>"
    return (
        '<p class="faded">The wrong answers that the network was surest of: hard pictures, or labels to look at '
        f'again.</p><div class="pictures">{"".join(map(_mistake, mistakes))}</div>'
    )


def _mistake(mistake: Mistake) -> str:
    if mistake.picture is None:
        picture = '<div class="no-picture">the picture can no longer be read</div>'
    else:
        # Small pictures are PNG; their pixels are shown as squares, not blurred.
        kind = ' class="icon"' if mistake.picture.startswith("data:image/png") else ""
        picture = f'<img{kind} src="{text(mistake.picture)}" alt="{text(mistake.source)}">'
    return (
        f"<figure>{picture}<figcaption><dl>"
        f'<dt>said</dt><dd class="number">{percent(mistake.score)}</dd><dd>{name(mistake.prediction)}</dd>'
        f'<dt>truth</dt><dd class="number">{percent(mistake.truth_score)}</dd><dd>{name(mistake.truth)}</dd>'
        f'</dl><p class="path">{path(mistake.source)}</p></figcaption></figure>'
    )


def scores(numbers: ReportNumbers) -> str:
    """Returns the reliability diagram and the accuracy by coverage, each with what it means."""
    found = numbers.calibration
    reliability = (
        f"<figure>{drawings.reliability_drawing(found)}<figcaption>Blue: how often answers of that score are right. "
        "Orange: how far that is from the mean score; above the dashed line the network is too modest, below it too "
        f"sure; pale: fewer than {drawings.FEW} pictures. Expected calibration error {percent(found.error, 2)}, "
        f"largest gap of a bin {percent(found.largest_gap)} (Guo et al. 2017, {BINS} bins of equal width)."
        "</figcaption></figure>"
    )
    coverage = (
        f"<figure>{drawings.coverage_drawing(numbers.coverage)}<figcaption>How accurate the answers are if the network "
        f"may decline the pictures that it is least sure of.{_coverage_in_words(numbers.coverage)}"
        "</figcaption></figure>"
    )
    return f'<div class="side-by-side">{reliability}{coverage}</div>'


def _coverage_in_words(curve: Coverage) -> str:
    sentences = []
    for target in (0.95, 0.99):
        reached = np.flatnonzero(curve.accuracy >= target)
        if reached.size and reached[-1] < curve.accuracy.size - 1:
            share, threshold = float(curve.coverage[reached[-1]]), float(curve.thresholds[reached[-1]])
            sentences.append(
                f" {percent(target, 0)} right: the surest {percent(share)} of the pictures, those with a score of at "
                f"least {threshold:.3f}."
            )
    return "".join(sentences)


def classes(numbers: ReportNumbers, class_names: Sequence[str]) -> str:
    """Returns a table of the classes, the worst first, without those that never occur, MOST_ROWS at most."""
    figures = numbers.figures
    met = np.flatnonzero((figures.support > 0) | (figures.predicted > 0))
    order = met[np.lexsort((-figures.support[met], figures.f1[met]))]
    words = "The worst first; a click on a heading sorts."
    if order.size > MOST_ROWS:
        words += f" The worst {MOST_ROWS:,} of {order.size:,} classes are here, all of them in report.json."
    if absent := len(class_names) - met.size:
        words += f" {absent:,} classes have no picture and were never answered."
    rows = [
        [name(class_names[number]), f"{figures.support[number]:,}"]
        + [f"{100 * values[number]:.1f}" for values in (figures.precision, figures.recall, figures.f1)]
        + [drawings.share_bar(float(figures.f1[number]))]
        for number in order[:MOST_ROWS].tolist()
    ]
    foot = [
        [title, f"{figures.support.sum():,}", *(f"{100 * value:.1f}" for value in averages), ""]
        for title, averages in figures.averages().items()
    ]
    heads = ["class", "pictures", "precision %", "recall %", "F1 %", ""]
    tall = " tall" if len(rows) > _ROWS_WITHOUT_SCROLLING else ""
    markup = table(heads, rows, words=1, foot=foot, kind="sortable")
    return f'<p class="faded">{words}</p><div class="scrolls{tall}">{markup}</div>'


def unreadable_pictures(unreadable: Sequence[tuple[str, str]]) -> str:
    """Returns a table of the first pictures that could not be read, and why."""
    rows = [[path(source), name(reason)] for source, reason in unreadable[:_MOST_UNREADABLE_TOLD]]
    more = len(unreadable) - len(rows)
    rest = f"<p>... and {more:,} more; all are in report.json.</p>" if more else ""
    return f'<div class="scrolls">{table(["picture", "reason"], rows, words=2)}</div>{rest}'
