"""Writes what an evaluation found: report.html for people, report.json with the same numbers for programs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from modelscope_beit import __version__, names
from modelscope_beit.data.records import Records
from modelscope_beit.evaluation import confidence
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report_numbers import ReportNumbers, report_numbers
from modelscope_beit.evaluation.report_page import Mistake, ReportPage
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
    unreadable: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes report.html and report.json into a folder, which is made if need be, and returns the page's path.

    records: what was evaluated; only the pictures of the worst mistakes are read. facts: what a reader wants to know
    of the run (model, data, digest, command), shown in their order; the date and the versions are added.
    unreadable: (picture, reason) of those that could not be evaluated.
    A report that is there already is replaced as a whole, so a reader never finds half of one.
    """
    facts = {**facts, "written": _now(), "versions": _versions()}
    numbers = report_numbers(outcomes)
    mistakes = [_mistake(outcomes, records, int(row)) for row in numbers.mistakes]
    page = ReportPage(title, facts, outcomes.class_names, numbers, mistakes, unreadable)
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / JSON_FILE, json.dumps(_as_json(page), ensure_ascii=False, separators=(",", ":")))
    _write_whole(folder / HTML_FILE, page.html())
    return folder / HTML_FILE


def _mistake(outcomes: Outcomes, records: Records, row: int) -> Mistake:
    record = records[int(outcomes.indices[row])]
    return Mistake(
        source=record.name,
        truth=outcomes.class_names[int(outcomes.labels[row])],
        prediction=outcomes.class_names[int(outcomes.top_classes[row, 0])],
        score=float(outcomes.top_scores[row, 0]),
        truth_score=float(outcomes.label_scores[row]),
        picture=thumbnail_address(record.image),
    )


def _as_json(page: ReportPage) -> dict[str, object]:
    numbers, class_names = page.numbers, list(page.class_names)
    confusion, found, curve = numbers.confusion, numbers.calibration, numbers.coverage
    return {
        "about": _ABOUT,
        "title": page.title,
        "facts": dict(page.facts),
        "pictures": numbers.pictures,
        "unreadable": [{"picture": source, "reason": reason} for source, reason in page.unreadable],
        "metrics": {f"accuracy_top-{k}": 100 * found.value for k, found in numbers.accuracies.items()},
        "intervals": {
            "method": "percentile bootstrap over the pictures",
            "confidence": confidence.CONFIDENCE,
            "resamples": confidence.RESAMPLES,
            "seed": confidence.SEED,
            **{f"accuracy_top-{k}": [100 * found.low, 100 * found.high] for k, found in numbers.accuracies.items()},
        },
        "calibration": {
            "expected_calibration_error": found.error,
            "largest_gap": found.largest_gap,
            "bins": found.counts.size,
            "counts": found.counts.tolist(),
            "confidence": _or_null(found.confidence),
            "accuracy": _or_null(found.accuracy),
        },
        "coverage": {
            "thresholds": curve.thresholds.tolist(),
            "coverage": curve.coverage.tolist(),
            "accuracy": curve.accuracy.tolist(),
        },
        "class_names": class_names,
        "classes": _classes_as_json(numbers),
        "averages": {
            title: dict(zip(("precision", "recall", "f1"), averages, strict=True))
            for title, averages in numbers.averages().items()
        },
        "confusion": np.stack([confusion.truths, confusion.predictions, confusion.counts], axis=1).tolist(),
        "most_frequent_mistakes": [
            {"truth": pair.truth, "prediction": pair.prediction, "pictures": pair.count, "share": pair.share}
            for pair in numbers.pairs
        ],
        "most_confident_mistakes": [
            {
                "picture": mistake.source,
                "truth": mistake.truth,
                "prediction": mistake.prediction,
                "score": mistake.score,
                "truth_score": mistake.truth_score,
            }
            for mistake in page.mistakes
        ],
    }


def _classes_as_json(numbers: ReportNumbers) -> dict[str, list[float]]:
    return {
        "support": numbers.confusion.support.tolist(),
        "predicted": numbers.confusion.predicted.tolist(),
        "precision": numbers.figures.precision.tolist(),
        "recall": numbers.figures.recall.tolist(),
        "f1": numbers.figures.f1.tolist(),
    }


def _or_null(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN."""
    return [float(value) if np.isfinite(value) else None for value in values]


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


def _versions() -> str:
    return f"{names.DISTRIBUTION} {__version__}, torch {torch.__version__}, Python {platform.python_version()}"


def _write_whole(path: Path, content: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    # Bytes of a file name that were no UTF-8 have no spelling in UTF-8 either; JSON knows the escapes as they are.
    beside.write_bytes(content.encode("utf-8", "backslashreplace"))
    os.replace(beside, path)
