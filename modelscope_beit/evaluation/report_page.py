"""Numbers of an evaluation -> report.html: one file that asks nobody for anything, for screens, phones and paper."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelscope_beit.evaluation import drawings
from modelscope_beit.evaluation.calibration import BINS
from modelscope_beit.evaluation.confidence import CONFIDENCE, RESAMPLES, Interval, bound_without_spread
from modelscope_beit.evaluation.confusion import most_confused_classes
from modelscope_beit.evaluation.markup import name, percent, text
from modelscope_beit.evaluation.report_numbers import ReportNumbers
from modelscope_beit.evaluation.report_style import SCRIPT, STYLE

_MOST_IN_MATRIX = 40
_MOST_ROWS = 2000
_MOST_UNREADABLE_TOLD = 50


@dataclass(frozen=True)
class Mistake:
    """A wrong answer to be shown: which picture (path or name), its small form as a data: address, what was said.

    score, truth_score: probabilities of the prediction and of the truth. picture: None if it cannot be read any more.
    """

    source: str
    truth: str
    prediction: str
    score: float
    truth_score: float
    picture: str | None


@dataclass(frozen=True)
class ReportPage:
    """What a page is made of. unreadable: (picture, reason) of those that are missing from the numbers."""

    title: str
    facts: Mapping[str, str]
    class_names: Sequence[str]
    numbers: ReportNumbers
    mistakes: Sequence[Mistake]
    unreadable: Sequence[tuple[str, str]]

    def html(self) -> str:
        """Returns the whole page."""
        sections = [
            self._header(),
            _facts_table(self.facts),
            _section("Confusion matrix", self._matrix()),
            _section("Most frequent mistakes", self._pairs()),
            _section("Most confident mistakes", self._mistakes()),
            _section("Do the scores mean what they say?", self._calibration()),
            _section("Every class", self._classes()),
            _section("Pictures that could not be read", self._unreadable()) if self.unreadable else "",
        ]
        return _DOCUMENT.format(
            title=text(self.title), policy=_POLICY, style=STYLE, script=SCRIPT, body="\n".join(sections)
        )

    def _header(self) -> str:
        numbers = self.numbers
        cards = [_accuracy_card(k, interval, numbers.pictures) for k, interval in numbers.accuracies.items()]
        cards.append(_card(f"{numbers.averages()['mean over classes'][2]:.3f}", "F1, mean over the classes", ""))
        cards.append(_card(percent(numbers.calibration.error), "expected calibration error", f"{BINS} bins of scores"))
        missing = (
            f'<p class="alarm">{len(self.unreadable):,} more pictures could not be read. They are in none of the '
            "numbers; their names are at the end.</p>"
            if self.unreadable
            else ""
        )
        return (
            f"<header><h1>{name(self.title)}</h1>"
            f"<p>{numbers.pictures:,} pictures, {len(self.class_names):,} classes</p></header>"
            f'{missing}<div class="cards">{"".join(cards)}</div>'
            f'<p class="faded">Intervals: {percent(CONFIDENCE, 0)}, percentile bootstrap over the pictures, '
            f"{RESAMPLES:,} resamples: how far the numbers would move with other pictures of the same kind.</p>"
        )

    def _matrix(self) -> str:
        confusion = self.numbers.confusion
        words = "Rows are the truth, columns what the network said; blue is right, orange wrong."
        chosen = np.arange(confusion.num_classes)
        if confusion.num_classes > _MOST_IN_MATRIX:
            chosen = most_confused_classes(confusion, _MOST_IN_MATRIX)
            words = (
                f"The {chosen.size} of {confusion.num_classes:,} classes that are taken for each other most often. "
                f"{words} Shares are of all pictures of the row's class, also of those taken for a class not shown."
            )
        if not chosen.size:
            return "<p>No picture was taken for one of another class.</p>"
        class_names = [self.class_names[number] for number in chosen.tolist()]
        drawing = drawings.confusion_drawing(confusion.block(chosen), confusion.support[chosen], class_names)
        return f'<p class="faded">{words}</p><div class="scrolls">{drawing}</div>'

    def _pairs(self) -> str:
        if not self.numbers.pairs:
            return "<p>There are none.</p>"
        rows = [
            [name(self.class_names[pair.truth]), name(self.class_names[pair.prediction])]
            + [f"{pair.count:,}", percent(pair.share)]
            for pair in self.numbers.pairs
        ]
        return _table(["truth", "taken for", "pictures", "of the class"], rows, words=2)

    def _mistakes(self) -> str:
        if not self.mistakes:
            return "<p>There are none.</p>"
        figures = "".join(map(_mistake, self.mistakes))
        return (
            '<p class="faded">The wrong answers that the network was surest of: hard pictures, or labels to look at '
            f'again.</p><div class="pictures">{figures}</div>'
        )

    def _calibration(self) -> str:
        found = self.numbers.calibration
        reliability = (
            f"<figure>{drawings.reliability_drawing(found)}<figcaption>Blue: how often answers of that score are "
            "right. Orange: how far that is from the mean score; above the dashed line the network is too modest, "
            f"below it too sure. Expected calibration error {percent(found.error, 2)}, largest gap of a bin "
            f"{percent(found.largest_gap)} (Guo et al. 2017, {BINS} bins of equal width).</figcaption></figure>"
        )
        coverage = (
            f"<figure>{drawings.coverage_drawing(self.numbers.coverage)}<figcaption>How accurate the answers are "
            f"if the network may decline the pictures that it is least sure of.{self._coverage_in_words()}"
            "</figcaption></figure>"
        )
        return f'<div class="side-by-side">{reliability}{coverage}</div>'

    def _coverage_in_words(self) -> str:
        curve = self.numbers.coverage
        sentences = []
        for target in (0.95, 0.99):
            reached = np.flatnonzero(curve.accuracy >= target)
            if reached.size and reached[-1] < curve.accuracy.size - 1:
                share, threshold = float(curve.coverage[reached[-1]]), float(curve.thresholds[reached[-1]])
                sentences.append(
                    f" {percent(target, 0)} right: the surest {percent(share)} of the pictures, "
                    f"those with a score of at least {threshold:.3f}."
                )
        return "".join(sentences)

    def _classes(self) -> str:
        confusion, figures = self.numbers.confusion, self.numbers.figures
        met = np.flatnonzero((confusion.support > 0) | (confusion.predicted > 0))
        order = met[np.lexsort((-confusion.support[met], figures.f1[met]))]
        shown = order[:_MOST_ROWS]
        absent = confusion.num_classes - met.size
        words = "The worst first; a click on a heading sorts."
        if shown.size < order.size:
            words += f" The worst {shown.size:,} of {order.size:,} classes are here, all of them in report.json."
        if absent:
            words += f" {absent:,} classes have no picture and were never answered."
        rows = [
            [name(self.class_names[number]), f"{confusion.support[number]:,}"]
            + [f"{100 * values[number]:.1f}" for values in (figures.precision, figures.recall, figures.f1)]
            + [drawings.share_bar(float(figures.f1[number]))]
            for number in shown
        ]
        foot = [
            [title, f"{self.numbers.pictures:,}", *(f"{100 * value:.1f}" for value in averages), ""]
            for title, averages in self.numbers.averages().items()
        ]
        heads = ["class", "pictures", "precision %", "recall %", "F1 %", ""]
        table = _table(heads, rows, words=1, foot=foot, kind="sortable")
        tall = " tall" if shown.size > 30 else ""
        return f'<p class="faded">{words}</p><div class="scrolls{tall}">{table}</div>'

    def _unreadable(self) -> str:
        rows = [[name(source), text(reason)] for source, reason in self.unreadable[:_MOST_UNREADABLE_TOLD]]
        more = len(self.unreadable) - len(rows)
        rest = f"<p>... and {more:,} more; all are in report.json.</p>" if more else ""
        return _table(["picture", "reason"], rows, words=2) + rest


def _accuracy_card(k: int, found: Interval, pictures: int) -> str:
    if found.low == found.high:
        bound = percent(bound_without_spread(pictures))
        spread = f"all {pictures:,} alike; of others, up to {bound} may not be"
    else:
        spread = f"{percent(found.low, 2)} to {percent(found.high, 2)}"
    return _card(percent(found.value, 2), f"top-{k} accuracy", spread)


def _card(number: str, what: str, more: str) -> str:
    return f'<div class="card">{text(what)}<b>{text(number)}</b><span class="faded">{text(more)}</span></div>'


def _facts_table(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th scope=row>{text(fact)}</th><td>{text(value)}</td></tr>" for fact, value in facts.items())
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{text(title)}</h2>{body}</section>"


def _mistake(mistake: Mistake) -> str:
    if mistake.picture is None:
        picture = '<div class="no-picture">the picture can no longer be read</div>'
    else:
        # Small pictures are PNG; their pixels are shown as squares, not blurred.
        kind = ' class="icon"' if mistake.picture.startswith("data:image/png") else ""
        picture = f'<img{kind} src="{text(mistake.picture)}" alt="" loading="lazy">'
    return (
        f"<figure>{picture}<figcaption><dl>"
        f"<dt>said</dt><dd>{name(mistake.prediction)}, {percent(mistake.score)}</dd>"
        f"<dt>truth</dt><dd>{name(mistake.truth)}, {percent(mistake.truth_score)}</dd>"
        f'<dt>picture</dt><dd class="path">{name(mistake.source)}</dd></dl></figcaption></figure>'
    )


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: int,
    foot: Iterable[Sequence[str]] = (),
    kind: str = "",
) -> str:
    """heads are escaped here, cells come escaped; the first `words` columns hold words, the others numbers."""
    classes = [""] * words + [' class="number"'] * (len(heads) - words)
    head = "".join(f"<th scope=col{kind}>{text(title)}</th>" for kind, title in zip(classes, heads, strict=True))

    def lines(cells: Iterable[Sequence[str]]) -> str:
        return "\n".join(
            "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(classes, row, strict=True)) + "</tr>"
            for row in cells
        )

    end = f"<tfoot>{lines(foot)}</tfoot>" if foot else ""
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{lines(rows)}</tbody>{end}</table>'


def _digest(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


# The page itself forbids the browser every request, and every style and script but these two: should a class name ever
# get past the escaping, it still could do nothing.
_POLICY = text(f"default-src 'none'; img-src data:; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}")
_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""
