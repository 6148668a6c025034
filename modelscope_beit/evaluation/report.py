"""Writes what an evaluation found: report.html for people, report.json with the same numbers for programs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from modelscope_beit import __version__, names
from modelscope_beit.data.records import Records
from modelscope_beit.evaluation import confidence
from modelscope_beit.evaluation.confusion import Confusion
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report_content import Mistake, ReportContent, report_numbers
from modelscope_beit.evaluation.report_page import report_page
from modelscope_beit.evaluation.thumbnails import thumbnail_address

HTML_FILE = "report.html"
JSON_FILE = "report.json"

_ABOUT = (
    "metrics are in percent under ModelScope's names, all other shares are from 0 to 1; classes and cells of the "
    "confusion matrix [truth, prediction, pictures] are numbered in the order of class_names"
)


def write_report(
    folder: Path,
    outcomes: Outcomes,
    records: Records,
    *,
    title: str,
    facts: Mapping[str, str],
    metrics: Mapping[str, float] | None = None,
    unreadable: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes report.html and report.json into a folder, which is made if need be, and returns the page's path.

    records: what was evaluated; only the pictures of the worst mistakes are read. facts: what a reader wants to know
    of the run (model, data, digest, command), shown in their order; the date and the versions are added.
    metrics: results under ModelScope's names and in its units, shown beside the accuracies.
    unreadable: (picture, reason) of those that could not be evaluated.
    A report that is there already is replaced as a whole, so a reader never finds half of one.
    """
    facts = {**facts, **facts_of_now()}
    numbers = report_numbers(outcomes)
    mistakes = [_mistake(outcomes, records, int(row)) for row in numbers.mistakes]
    content = ReportContent(title, facts, outcomes.class_names, numbers, mistakes, metrics or {}, unreadable)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / JSON_FILE, json.dumps(_as_json(content), ensure_ascii=False, separators=(",", ":")))
    write_whole(folder / HTML_FILE, report_page(content))
    return folder / HTML_FILE


def _mistake(outcomes: Outcomes, records: Records, row: int) -> Mistake:
    record = records[int(outcomes.indices[row])]
    labels = np.flatnonzero(outcomes.labels[row] == 1) if outcomes.is_multi_label else outcomes.labels[row : row + 1]
    return Mistake(
        source=record.name,
        truth=" + ".join(outcomes.class_names[label] for label in labels.tolist()) or "none",
        prediction=outcomes.class_names[int(outcomes.top_classes[row, 0])],
        score=float(outcomes.top_scores[row, 0]),
        truth_score=float(outcomes.label_scores[row]),
        picture=thumbnail_address(record.image),
    )


def _as_json(content: ReportContent) -> dict[str, object]:
    numbers, figures = content.numbers, content.numbers.figures
    found, curve = numbers.calibration, numbers.coverage
    return {
        "about": _ABOUT,
        "title": content.title,
        "facts": dict(content.facts),
        "pictures": numbers.pictures,
        "unreadable": [{"picture": source, "reason": reason} for source, reason in content.unreadable],
        "metrics": {**content.metrics, **{key: 100 * share.value for key, share in numbers.shares.items()}},
        "intervals": {key: [100 * share.low, 100 * share.high] for key, share in numbers.shares.items()},
        "interval_method": {
            "method": "percentile bootstrap over the pictures",
            "confidence": confidence.CONFIDENCE,
            "resamples": confidence.RESAMPLES,
            "seed": confidence.SEED,
        },
        "calibration": {
            "expected_calibration_error": found.error,
            "largest_gap": found.largest_gap,
            "counts": found.counts.tolist(),
            "confidence": _or_null(found.confidence),
            "accuracy": _or_null(found.accuracy),
        },
        "coverage": _lists(vars(curve)),
        "class_names": list(content.class_names),
        "classes": _lists(vars(figures)),
        "averages": {
            title: dict(zip(("precision", "recall", "f1"), averages, strict=True))
            for title, averages in figures.averages().items()
        },
        "confusion": _cells(numbers.confusion),
        "most_frequent_mistakes": [asdict(pair) for pair in numbers.pairs],
        "most_confident_mistakes": [
            {key: value for key, value in asdict(mistake).items() if key != "picture"} for mistake in content.mistakes
        ],
    }


def _lists(arrays: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {key: values.tolist() for key, values in arrays.items()}


def _cells(confusion: Confusion | None) -> list[list[int]] | None:
    if confusion is None:
        return None
    cells: list[list[int]] = np.stack([confusion.truths, confusion.predictions, confusion.counts], axis=1).tolist()
    return cells


def _or_null(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN."""
    return [float(value) if np.isfinite(value) else None for value in values]


def facts_of_now() -> dict[str, str]:
    """Returns when a report is written, and by which versions."""
    versions = f"{names.DISTRIBUTION} {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return {"Written": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"), "Versions": versions}


def write_whole(path: Path, content: str) -> None:
    """Writes a text that takes the place of an earlier one as a whole, so a reader never finds half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    # Bytes of a file name that were no UTF-8 have no spelling in UTF-8 either; JSON knows the escapes as they are.
    beside.write_bytes(content.encode("utf-8", "backslashreplace"))
    os.replace(beside, path)
