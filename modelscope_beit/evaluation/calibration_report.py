"""Writes what a calibration found: calibration.html for people, calibration.json with the same numbers for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from modelscope_beit.evaluation import drawings
from modelscope_beit.evaluation.calibrating import Fit
from modelscope_beit.evaluation.calibration import BINS, Calibration
from modelscope_beit.evaluation.confidence import CONFIDENCE, Interval
from modelscope_beit.evaluation.familiarity_drawing import familiarity_drawing
from modelscope_beit.evaluation.markup import name, percent, section, table, text
from modelscope_beit.evaluation.report import facts_of_now, write_whole
from modelscope_beit.evaluation.report_page import card, document, facts_table
from modelscope_beit.evaluation.report_sections import unreadable_pictures

HTML_FILE = "calibration.html"
JSON_FILE = "calibration.json"


def write_calibration_report(
    folder: Path,
    fit: Fit,
    *,
    title: str,
    facts: Mapping[str, str],
    unreadable: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes calibration.html and calibration.json into a folder, which is made if need be; returns the page's path.

    facts: what a reader wants to know of the run, shown in their order; the date and the versions are added.
    unreadable: (picture, reason) of those that are in none of the numbers.
    """
    facts = {**facts, **facts_of_now()}
    folder.mkdir(parents=True, exist_ok=True)
    content = {"title": title, "facts": facts, **fit_numbers(fit), "unreadable": len(unreadable)}
    write_whole(folder / JSON_FILE, json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False))
    write_whole(folder / HTML_FILE, _page(fit, title, facts, unreadable))
    return folder / HTML_FILE


def fit_numbers(fit: Fit) -> dict[str, object]:
    """Returns the numbers of a fit as JSON has them; shares are from 0 to 1."""
    return {
        "pictures": len(fit.known),
        "temperature": fit.temperature,
        "unknown_below": fit.unknown_below,
        "right": asdict(fit.right),
        "before": {**_reliability(fit.before), "negative_log_likelihood": fit.loss_before},
        "after": {**_reliability(fit.after), "negative_log_likelihood": fit.loss_after},
        "false_alarms": asdict(fit.false_alarms),
        "detection": None if fit.detection is None else asdict(fit.detection),
        "notes": list(fit.notes),
    }


def in_words(interval: Interval, decimals: int = 1) -> str:
    """Returns a share with its interval, e.g. "4.9% (4.1% to 5.9%)"."""
    bounds = f"{percent(interval.low, decimals)} to {percent(interval.high, decimals)}"
    return f"{percent(interval.value, decimals)} ({bounds})"


def _reliability(found: Calibration) -> dict[str, object]:
    shares = {key: [float(one) if np.isfinite(one) else None for one in getattr(found, key)] for key in _OF_BINS}
    return {
        "expected_calibration_error": found.error,
        "largest_gap": found.largest_gap,
        "counts": found.counts.tolist(),
        **shares,
    }


_OF_BINS = ("confidence", "accuracy")


def _page(fit: Fit, title: str, facts: Mapping[str, str], unreadable: Sequence[tuple[str, str]]) -> str:
    parts = [_header(fit, title), facts_table(facts)]
    parts += [f'<p class="alarm">{text(note)}</p>' for note in fit.notes]
    parts.append(section("Do the scores mean what they say?", _scores(fit)))
    parts.append(section("Which pictures are unknown?", _unknown(fit)))
    if unreadable:
        parts.append(section("Pictures that could not be read", unreadable_pictures(unreadable)))
    return document(title, "\n".join(parts))


def _header(fit: Fit, title: str) -> str:
    found = fit.detection
    cards = [
        card(f"{fit.temperature:.3f}", "temperature", "logits are divided by it"),
        card(percent(fit.after.error, 2), "expected calibration error", f"before: {percent(fit.before.error, 2)}"),
        card(percent(fit.false_alarms.value, 2), "known pictures called unknown", _bounds(fit.false_alarms)),
    ]
    if found is not None:
        cards.append(card(percent(found.detected.value, 2), "unknown pictures found", _bounds(found.detected)))
    return (
        f"<header><h1>{name(title)}</h1><p>{len(fit.known):,} pictures of known classes, {percent(fit.right.value, 2)} "
        f'of all answers right</p></header><div class="cards">{"".join(cards)}</div>'
        f'<p class="faded">Intervals: {percent(CONFIDENCE, 0)}, Wilson. The numbers are of the very pictures that '
        "temperature and threshold were fitted to. Two numbers follow few of their whims, but only an evaluation of "
        "other pictures gives a result that is quite free of that.</p>"
    )


def _bounds(interval: Interval) -> str:
    return f"{percent(interval.low, 2)} to {percent(interval.high, 2)}"


def _scores(fit: Fit) -> str:
    figures = [
        f"<figure>{drawings.reliability_drawing(found)}<figcaption>{words}: expected calibration error "
        f"{percent(found.error, 2)}, largest gap of a bin {percent(found.largest_gap)}, mean negative log-likelihood "
        f"{loss:.4f}.</figcaption></figure>"
        for words, found, loss in (
            ("Before, at temperature 1", fit.before, fit.loss_before),
            (f"After, at temperature {fit.temperature:.3f}", fit.after, fit.loss_after),
        )
    ]
    return (
        '<p class="faded">Blue: how often answers of that score are right. Orange: how far it is from the mean score. '
        "Above the dashed line the network is too modest, below it too sure; pale: fewer than "
        f"{drawings.FEW} pictures (Guo et al. 2017, {BINS} bins of equal width). The temperature changes no answer, "
        f'only its score.</p><div class="side-by-side">{"".join(figures)}</div>'
    )


def _unknown(fit: Fit) -> str:
    drawing = familiarity_drawing(fit.known, fit.unknown, fit.unknown_below)
    words = (
        "How much the logits speak for any class at all: the log of the sum of their exponentials (Liu et al. 2020), "
        "or with a sigmoid for each class the sum of what each has against none. Below the dashed line, orange, a "
        "picture is called unknown."
    )
    return f'<p class="faded">{words}</p><div class="scrolls">{drawing}</div>{_detection(fit)}'


def _detection(fit: Fit) -> str:
    found = fit.detection
    if found is None:
        return (
            '<p class="faded">How well it finds pictures of other things was not measured, since none were given; '
            "nothing follows for these from the numbers above.</p>"
        )
    rows = [
        ["known pictures called unknown", in_words(fit.false_alarms, 2)],
        ["unknown pictures called unknown", in_words(found.detected, 2)],
        ["area under the ROC curve (AUROC)", f"{found.auroc:.4f}"],
        ["unknown pictures that pass where 95% of the known ones do (FPR95)", percent(found.passed_at_95, 2)],
    ]
    words = "Other kinds of unknown pictures may be found more or less often; these were measured, never fitted to."
    return f'<div class="scrolls">{table(["", "share"], rows, words=1)}</div><p class="faded">{words}</p>'
