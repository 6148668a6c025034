"""Answers -> what the page shows of them, in the visitor's language. Names of classes and files are only ever text."""

import base64
from collections.abc import Sequence
from html import escape

from app_answers import Answer, Results, table
from app_texts import Texts

from modelscope_beit.prediction.stream import Prediction


def answer_html(answer: Answer | None, texts: Texts) -> str:
    """Returns the best class, a bar for each class that is told, and how long it took; or why there is none."""
    if answer is None:
        return f'<p class="beit-waiting">{escape(texts.waiting)}</p>'
    prediction = answer.prediction
    if prediction.error is not None:
        return _problem(texts.failed, prediction.error)
    best, share = prediction.labels[0], prediction.scores[0]
    if prediction.is_unknown:
        head = (
            f'<p class="beit-best">{escape(texts.unknown)}</p><p class="beit-note">{escape(texts.unknown_because)}</p>'
        )
    else:
        head = f'<p class="beit-best">{escape(best)} <span>{_percent(share)}</span></p>'
    rows = "".join(map(_bar, prediction.labels, prediction.scores))
    facts = (texts.time.format(time=spell_seconds(answer.seconds)), answer.model, answer.precision)
    kind = "beit-answer beit-unknown" if prediction.is_unknown else "beit-answer"
    return (
        f'<section class="{kind}">{head}<ol class="beit-bars">{rows}</ol>'
        f'<p class="beit-facts">{" · ".join(map(escape, facts))}</p></section>'
    )


def looked_caption(answer: Answer | None, problem: str | None, texts: Texts) -> str:
    """Returns what the picture beside it means, or why there is none."""
    if problem is not None:
        return f'<p class="beit-note">{escape(texts.not_looked)} {escape(problem)}</p>'
    if answer is None or answer.prediction.error is not None:
        return ""
    return f'<p class="beit-note">{escape(texts.looked_because.format(label=answer.prediction.labels[0]))}</p>'


def comparison_html(first: Answer | None, second: Answer | None, texts: Texts) -> str:
    """Returns whether two models agree; nothing as long as one has not answered."""
    if first is None or second is None or first.prediction.error or second.prediction.error:
        return ""
    one, other = (texts.unknown if answer.prediction.is_unknown else answer.prediction.labels[0]
                  for answer in (first, second))  # fmt: skip
    said = texts.same.format(label=one) if one == other else texts.different.format(first=one, second=other)
    return f'<p class="beit-verdict beit-{"same" if one == other else "different"}">{escape(said)}</p>'


def results_html(results: Results | None, texts: Texts) -> str:
    """Returns how many pictures were classified, how fast, and a link that holds the table: it is kept nowhere else."""
    if results is None:
        return ""
    if results.problem is not None:
        return _problem(texts.failed, results.problem)
    right = sum(prediction.error is None for prediction in results.predictions)
    count, seconds = len(results.predictions), results.seconds
    counted = texts.counted.format(right=right, all=count, time=spell_seconds(seconds), speed=count / seconds)
    data = base64.b64encode(table(results.predictions)).decode()
    return (
        f'<p class="beit-note">{escape(counted)}</p><a class="beit-download" download="predictions.csv" '
        f'href="data:text/csv;base64,{data}">{escape(texts.download)}</a>'
    )


def table_rows(predictions: Sequence[Prediction], texts: Texts) -> list[list[str]]:
    """Returns a row of texts for each picture, in the order of texts.columns."""
    rows = []
    for prediction in predictions:
        cells = [(label, _percent(score)) for label, score in zip(prediction.labels, prediction.scores, strict=True)]
        cells += [("", "")] * 2
        best = texts.unknown if prediction.is_unknown else cells[0][0]
        rows.append([prediction.source, best, cells[0][1], *cells[1], prediction.error or ""])
    return rows


def spell_seconds(seconds: float) -> str:
    """Returns a time in the unit that a person would use."""
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def _bar(label: str, score: float) -> str:
    percent = _percent(score)
    return (
        f'<li><span class="beit-label">{escape(label)}</span><span class="beit-share">{percent}</span>'
        f'<span class="beit-track" aria-hidden="true"><span style="width:{100 * score:.2f}%"></span></span></li>'
    )


def _problem(title: str, problem: str) -> str:
    return f'<div class="beit-problem" role="alert"><b>{escape(title)}</b><p>{escape(problem)}</p></div>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
