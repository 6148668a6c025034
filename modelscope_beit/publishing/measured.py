"""What an evaluation has found, as a card tells it: shares with Wilson intervals, the weakest classes, confusions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.evaluation.confidence import wilson_interval
from modelscope_beit.evaluation.report import JSON_FILE
from modelscope_beit.publishing.source import Source, read_json

_WEAKEST = 3
_PAIRS = 3
_DIGEST = "sha256:"
_PICTURES = re.compile(r"([\d,]+) pictures")
# Metrics of a run that are shares of its pictures.
_SHARES = "accuracy_top-"


@dataclass(frozen=True)
class ClassResult:
    """How well one class was recognised: recall is the share of its `pictures`, from 0 to 1."""

    name: str
    pictures: int
    recall: float


@dataclass(frozen=True)
class Measured:
    """An evaluation.

    metrics: ModelScope's name -> value, in percent; numbers of pictures (support) are not among them.
    intervals: of those that are shares of pictures, in percent.
    weakest: the classes with pictures that were recognised worst, worst first; none if all are at 100 %.
    pairs: (truth, said in its place, times). cells: of the confusion matrix, [truth, prediction, pictures], or None.
    chose_epoch: whether the same pictures have chosen the epoch whose weights these are.
    """

    data: str
    pictures: int
    unreadable: int
    class_names: tuple[str, ...]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    weakest: tuple[ClassResult, ...]
    pairs: tuple[tuple[str, str, int], ...]
    cells: Sequence[tuple[int, int, int]] | None
    chose_epoch: bool


def read_measured(source: Source, evaluation: Path | None, *, digest: str) -> Measured | None:
    """Returns what was measured of the weights that are published; None if nothing was.

    evaluation: what `beit evaluate` wrote, a folder or its report.json; None: what the run found at its end, or, where
    it wrote no report, when it chose the weights.
    digest: of the source's weight file. Raises SettingsError if the evaluation is one of other weights,
    ModelFolderError if there is none where one was named, or if it cannot be read.
    """
    path = source.report if evaluation is None else _report_in(evaluation)
    if path is None:
        return _of_record(source)
    report = read_json(path)
    try:
        weights = str(report["facts"]["Weights"])
        is_of_run = evaluation is None
        if not _is_of(weights, source, digest=digest):
            if is_of_run:
                return _of_record(source)
            raise SettingsError(
                f"{path} is an evaluation of {weights}, but the weights of {source.model} have the digest {digest}. "
                f"Evaluate them (beit evaluate {source.model} DATA --out FOLDER), and give that FOLDER."
            )
        return _measured(report, chose_epoch=is_of_run and bool(source.record.get("best")))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, SettingsError):
            raise
        raise ModelFolderError(f"{path} is no report of this package: {error!r}. Evaluate again.") from error


def _report_in(evaluation: Path) -> Path:
    path = evaluation / JSON_FILE if evaluation.is_dir() else evaluation
    if not path.is_file():
        raise ModelFolderError(f"There is no evaluation in {evaluation}: {JSON_FILE} of `beit evaluate` is expected.")
    return path


def _is_of(weights: str, source: Source, *, digest: str) -> bool:
    """Tells whether a report is of the weights: by their digest, or by the name of the run's best checkpoint."""
    if weights.startswith(_DIGEST):
        return weights == digest
    best = source.record.get("best") or {}
    return Path(weights).name == best.get("file") or not best


def _of_record(source: Source) -> Measured | None:
    """Returns what the run's record says of its best weights; None if they were not validated on a counted number."""
    metrics = (source.record.get("best") or {}).get("metrics", {})
    counted = _PICTURES.fullmatch(source.rows("Data").get("Validation", ""))
    if not metrics or counted is None:
        return None
    pictures = int(counted[1].replace(",", ""))
    numbers = _in_percent(metrics)
    return Measured(
        data=f"{source.record.get('data', '')} (validation part)",
        pictures=pictures,
        unreadable=0,
        class_names=(),
        metrics=numbers,
        intervals={name: _interval(numbers[name], pictures) for name in numbers if name.startswith(_SHARES)},
        weakest=(),
        pairs=(),
        cells=None,
        chose_epoch=True,
    )


def _in_percent(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not name.endswith("support")
    }


def _interval(percent: float, pictures: int) -> tuple[float, float]:
    found = wilson_interval(round(percent / 100 * pictures), pictures)
    return 100 * found.low, 100 * found.high


def _measured(report: Mapping[str, Any], *, chose_epoch: bool) -> Measured:
    class_names = tuple(report["class_names"])
    pictures = int(report["pictures"])
    metrics = _in_percent(report["metrics"])
    recalls = zip(class_names, report["classes"]["support"], report["classes"]["recall"], strict=True)
    seen = [ClassResult(name, int(support), float(recall)) for name, support, recall in recalls if support]
    weakest = sorted((one for one in seen if one.recall < 1), key=lambda one: one.recall)[:_WEAKEST]
    pairs = [(pair["truth"], pair["prediction"], int(pair["count"])) for pair in report["most_frequent_mistakes"]]
    return Measured(
        data=str(report["facts"].get("Data", "")),
        pictures=pictures,
        unreadable=len(report["unreadable"]),
        class_names=class_names,
        metrics=metrics,
        intervals={name: _interval(metrics[name], pictures) for name in report["intervals"]},
        weakest=tuple(weakest),
        pairs=tuple((class_names[truth], class_names[said], count) for truth, said, count in pairs[:_PAIRS]),
        cells=None if report["confusion"] is None else [tuple(cell) for cell in report["confusion"]],
        chose_epoch=chose_epoch,
    )
