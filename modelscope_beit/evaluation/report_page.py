"""The content of a report -> report.html: one file that asks nobody for anything, for screens, phones and paper."""

import base64
import hashlib
from collections.abc import Mapping

from modelscope_beit.evaluation import report_sections
from modelscope_beit.evaluation.calibration import BINS
from modelscope_beit.evaluation.confidence import CONFIDENCE, RESAMPLES, Interval, bound_without_spread
from modelscope_beit.evaluation.markup import name, percent, section, text
from modelscope_beit.evaluation.report_content import SAID, ReportContent
from modelscope_beit.evaluation.report_style import SCRIPT, STYLE

_IN_WORDS = {
    "accuracy_top-1": "top-1 accuracy",
    "accuracy_top-5": "top-5 accuracy",
    "best_class_is_a_label": "best class is a label",
}


def report_page(content: ReportContent) -> str:
    """Returns the whole page. Everything that others named (classes, files, facts) is in it as text only."""
    numbers, class_names = content.numbers, content.class_names
    parts = [_header(content), facts_table(content.facts)]
    if numbers.confusion is not None:
        pairs = report_sections.frequent_mistakes(numbers.pairs, class_names)
        matrix = section("Confusion matrix", report_sections.matrix(numbers.confusion, class_names))
        parts.append(f'<div class="beside">{matrix}{section("Most frequent mistakes", pairs)}</div>')
    parts.append(section("Most confident mistakes", report_sections.confident_mistakes(content.mistakes)))
    parts.append(section("Do the scores mean what they say?", report_sections.scores(numbers)))
    threshold = "" if numbers.confusion is not None else f", a score of {SAID} and more counting as yes"
    parts.append(section(f"Every class{threshold}", report_sections.classes(numbers, class_names)))
    if content.unreadable:
        table = report_sections.unreadable_pictures(content.unreadable)
        parts.append(section("Pictures that could not be read", table))
    return document(content.title, "\n".join(parts))


def document(title: str, body: str) -> str:
    """Returns a whole page of the title, which is escaped, and markup."""
    return _DOCUMENT.format(title=text(title), policy=_POLICY, style=STYLE, script=SCRIPT, body=body)


def _header(content: ReportContent) -> str:
    numbers = content.numbers
    cards = [_share_card(key, share, numbers.pictures) for key, share in numbers.shares.items()]
    further = {key: value for key, value in content.metrics.items() if key not in numbers.shares}
    cards += [card(f"{value:,.2f}", key, "") for key, value in further.items()]
    for title, (_, _, f1) in list(numbers.figures.averages().items())[:1]:
        cards.append(card(percent(f1, 2), f"F1, {title}", ""))
    cards.append(card(percent(numbers.calibration.error, 2), "expected calibration error", f"{BINS} bins of scores"))
    missing = (
        f'<p class="alarm">Pictures that could not be read: {len(content.unreadable):,}. They are in none of the '
        "numbers; the last section names them.</p>"
        if content.unreadable
        else ""
    )
    return (
        f"<header><h1>{name(content.title)}</h1>"
        f"<p>{numbers.pictures:,} pictures, {len(content.class_names):,} classes</p></header>"
        f'{missing}<div class="cards">{"".join(cards)}</div>'
        f'<p class="faded">Intervals: {percent(CONFIDENCE, 0)}, percentile bootstrap over the pictures, '
        f"{RESAMPLES:,} resamples: how far the numbers would move with other pictures of the same kind.</p>"
    )


def _share_card(key: str, found: Interval, pictures: int) -> str:
    if found.low == found.high:
        spread = f"all {pictures:,} alike; of others, up to {percent(bound_without_spread(pictures))} may not be"
    else:
        spread = f"{percent(found.low, 2)} to {percent(found.high, 2)}"
    return card(percent(found.value, 2), _IN_WORDS[key], spread)


def card(number: str, what: str, more: str) -> str:
    """Returns a number with what it is, and a further line, all escaped."""
    return f'<div class="card">{text(what)}<b>{text(number)}</b><span class="faded">{text(more)}</span></div>'


def facts_table(facts: Mapping[str, str]) -> str:
    """Returns a table of fact and value, both escaped."""
    rows = "\n".join(
        f'<tr><th scope="row">{text(fact)}</th><td>{name(value)}</td></tr>' for fact, value in facts.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


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
