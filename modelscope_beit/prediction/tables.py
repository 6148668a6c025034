"""From predictions to a file that other programs open: csv, json lines or parquet, chosen by its suffix.

csv and parquet have one row per picture and the columns ``source, label_1, score_1, label_2, score_2, ...,
error``: the best class is in ``label_1``, so that a spreadsheet sorts and filters by it, and an error is a
column, so that a filter on it finds what failed. Text is UTF-8. A json line holds lists:
``{"source": ..., "labels": [...], "scores": [...], "error": null}``. Scores are probabilities; in text they
have six significant digits, which is what float32 carries.

Rows are written as they come, into ``NAME.partial.SUFFIX`` beside the file. Only when all are there does it
take the file's name; after an interrupt it stays, complete up to the last row, and can be opened as it is.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelscope_beit.errors import BeitError, SettingsError

if TYPE_CHECKING:
    # Only its name is needed, and it would bring torch: a wrong file name should be told at once.
    from modelscope_beit.prediction.stream import Prediction

_ROWS_PER_GROUP = 4096  # Parquet compresses a group of rows at a time; this many of them wait in memory.


@contextmanager
def open_table(path: Path, topk: int) -> Iterator[Callable[["Prediction"], None]]:
    """Gives a function that appends one prediction to the table; at the end the file is there, whole.

    topk: classes told per picture; csv and parquet have so many columns of labels and scores.
    Raises SettingsError as check_table does, and BeitError if writing fails.
    An earlier file of this name stays as it was until the new one is whole.
    """
    check_table(path)
    partial = partial_path(path)
    with _writing(partial):
        table = _TABLES[path.suffix.lower()](partial, topk)

    def write(prediction: "Prediction") -> None:
        with _writing(partial):
            table.write(prediction)

    try:
        yield write
    except BaseException:
        # The error that stopped the rows is the one to tell, not a second one from a full disk.
        with suppress(OSError):
            table.close()
        raise
    with _writing(partial):
        table.close()
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)


def check_table(path: Path) -> None:
    """Raises SettingsError if the suffix is unknown or there cannot be a file of this name."""
    if path.suffix.lower() not in _TABLES:
        raise SettingsError(f"The table {path} must end in {' or '.join(_TABLES)}, which names its format.")
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"cannot be made: there is no folder {path.parent}"
        raise SettingsError(f"The table {path} {reason}. Name a file in a folder that exists.")


def partial_path(path: Path) -> Path:
    """Returns where the rows are until the table is whole: preds.csv -> preds.partial.csv."""
    return path.with_suffix(f".partial{path.suffix}")


def json_line(prediction: "Prediction") -> str:
    """Returns a prediction as one line of JSON, without the line's end."""
    row = {
        "source": prediction.source,
        "labels": prediction.labels,
        "scores": [float(_digits(score)) for score in prediction.scores],
        "error": prediction.error,
    }
    return json.dumps(row, ensure_ascii=False)


@contextmanager
def _writing(partial: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BeitError(f"Writing the table {partial} failed: {error}.") from error


class _Table(Protocol):
    """A file that rows are appended to. close() leaves it readable, whatever has been written."""

    def __init__(self, path: Path, topk: int) -> None: ...

    def write(self, prediction: "Prediction") -> None: ...

    def close(self) -> None: ...


class _CsvTable:
    def __init__(self, path: Path, topk: int) -> None:
        self._topk = topk
        self._file = open(path, "w", encoding="utf-8", newline="")  # Closed by close().
        self._rows = csv.writer(self._file)
        self._rows.writerow(_columns(topk))

    def write(self, prediction: "Prediction") -> None:
        self._rows.writerow(_cells(prediction, [_digits(score) for score in prediction.scores], self._topk))

    def close(self) -> None:
        self._file.close()


class _JsonLinesTable:
    def __init__(self, path: Path, topk: int) -> None:
        self._file = open(path, "w", encoding="utf-8")  # Closed by close().

    def write(self, prediction: "Prediction") -> None:
        self._file.write(json_line(prediction) + "\n")

    def close(self) -> None:
        self._file.close()


class _ParquetTable:
    def __init__(self, path: Path, topk: int) -> None:
        # Deferred: it takes 0.2 s, and most runs write no parquet.
        import pyarrow
        import pyarrow.parquet

        types = [pyarrow.float32() if name.startswith("score_") else pyarrow.string() for name in _columns(topk)]
        self._schema = pyarrow.schema(list(zip(_columns(topk), types, strict=True)))
        self._file = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._new_batch = pyarrow.record_batch
        self._topk = topk
        self._waiting: list[list[Any]] = []

    def write(self, prediction: "Prediction") -> None:
        self._waiting.append(_cells(prediction, prediction.scores, self._topk))
        if len(self._waiting) == _ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        if self._waiting:
            self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        # Taken out first: an interrupt in the middle must not leave rows to be written twice.
        rows, self._waiting = self._waiting, []
        columns = [list(column) for column in zip(*rows, strict=True)]
        self._file.write_batch(self._new_batch(columns, schema=self._schema))


_TABLES: dict[str, type[_Table]] = {".csv": _CsvTable, ".jsonl": _JsonLinesTable, ".parquet": _ParquetTable}


def _columns(topk: int) -> list[str]:
    best = [name for place in range(1, topk + 1) for name in (f"label_{place}", f"score_{place}")]
    return ["source", *best, "error"]


def _cells(prediction: "Prediction", scores: Sequence[Any], topk: int) -> list[Any]:
    """Values in the order of _columns; None where there are fewer classes than topk, or an error."""
    best = [cell for pair in zip(prediction.labels, scores, strict=True) for cell in pair]
    return [prediction.source, *best, *[None] * (2 * topk - len(best)), prediction.error]


def _digits(score: float) -> str:
    return f"{score:.6g}"
