"""What a table of predictions looks like: csv, json lines or parquet, chosen by the suffix of its file.

csv and parquet have one row per picture and the columns ``source, label_1, score_1, label_2, score_2, ...,
error``: the best class is in ``label_1``, so that a spreadsheet sorts and filters by it, and an error is a
column, so that a filter on it finds what failed. Text is UTF-8. A json line holds lists:
``{"source": ..., "labels": [...], "scores": [...], "error": null}``. Scores are probabilities; in text they
have six significant digits, which is what float32 carries. Of a calibrated model a column ``unknown``, true or false,
stands before ``error``.

A parquet file can be read only when it is whole. So its rows are json lines first, with all digits, and become parquet
at the end. How rows become a file: growing_table.py.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from modelscope_beit import names
from modelscope_beit.errors import SettingsError

if TYPE_CHECKING:
    # Only its name is needed, and it would bring torch: a wrong file name should be told at once.
    from modelscope_beit.prediction.stream import Prediction

PARQUET = ".parquet"

_SUFFIXES = (".csv", ".jsonl", PARQUET)
_ROWS_PER_GROUP = 4096  # Parquet compresses a group of rows at a time; this many of them wait in memory.


@dataclass(frozen=True)
class RowFormat:
    """How predictions become rows of text, and what can be told of a row without reading it as a whole.

    head: the first line of a file, or nothing. row: gives the row of a prediction, with the line's end.
    beginning: gives what the row of a picture begins with, by the picture's name.
    end_without_error: what the row of a picture that was classified ends with; no other row does.
    """

    head: bytes
    row: Callable[["Prediction"], bytes]
    beginning: Callable[[str], bytes]
    end_without_error: bytes
    has_quotes: bool

    def rows(self, file: BinaryIO) -> Iterator[bytes]:
        """Yields the rows of a file, without its head, up to the first that is not whole.

        Raises SettingsError if the file begins with another head; of a head that is cut off nothing is yielded.
        """
        rows = self._lines(file)
        if self.head:
            head = next(rows, self.head)
            if head != self.head:
                raise SettingsError(f"{file.name} begins with {head[:80]!r}, not with the columns {self.head!r}.")
        return rows

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        row = b""
        for line in file:
            row += line
            # Within an odd number of quotation marks a line's end belongs to the text of a cell.
            if line.endswith(b"\n") and not (self.has_quotes and row.count(b'"') % 2):
                yield row
                row = b""


def check_table(path: Path) -> None:
    """Raises SettingsError if the suffix is unknown or there cannot be a file of this name."""
    if path.suffix.lower() not in _SUFFIXES:
        raise SettingsError(f"The table {path} must end in {' or '.join(_SUFFIXES)}, which names its format.")
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"cannot be made: there is no folder {path.parent}"
        raise SettingsError(f"The table {path} {reason}. Name a file in a folder that exists.")


def row_format(path: Path, topk: int, *, with_unknown: bool = False) -> RowFormat:
    """Returns how the rows of a table look that grows to become the file `path`.

    topk: classes told per picture; csv has so many columns of labels and scores. with_unknown: csv has that column.
    """
    if path.suffix.lower() == ".csv":
        return RowFormat(
            head=_csv_row(_columns(topk, with_unknown)),
            row=lambda prediction: _csv_row(_cells(_of_csv(prediction), topk, with_unknown)),
            beginning=lambda name: _csv_row([name, None]).rstrip(b"\r\n"),
            end_without_error=b",\r\n",
            has_quotes=True,
        )
    # Numbers in parquet are those of the network.
    digits = float if path.suffix.lower() == PARQUET else _six_digits
    return RowFormat(
        head=b"",
        row=lambda prediction: f"{_json_line(prediction, digits)}\n".encode(),
        beginning=lambda name: json.dumps({"source": name}, ensure_ascii=False)[:-1].encode() + b", ",
        end_without_error=b'"error": null}\n',
        has_quotes=False,
    )


def json_line(prediction: "Prediction") -> str:
    """Returns a prediction as one line of JSON, without the line's end."""
    return _json_line(prediction, _six_digits)


def write_parquet(path: Path, rows: Iterable[bytes], topk: int, *, with_unknown: bool = False) -> None:
    """Writes rows, as row_format has them for a parquet file, to one. At most 4,096 are held at a time."""
    # Deferred: it takes 0.2 s, and most runs write no parquet.
    import pyarrow
    import pyarrow.parquet

    columns = _columns(topk, with_unknown)
    kinds = {"score": pyarrow.float32(), names.UNKNOWN: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds.get(name.partition("_")[0], pyarrow.string())) for name in columns])
    remaining = map(json.loads, rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        while group := list(islice(remaining, _ROWS_PER_GROUP)):
            cells = [_cells(row, topk, with_unknown) for row in group]
            values = [list(column) for column in zip(*cells, strict=True)]
            file.write_batch(pyarrow.record_batch(values, schema=schema))


def _columns(topk: int, with_unknown: bool) -> list[str]:
    best = [name for place in range(1, topk + 1) for name in (f"label_{place}", f"score_{place}")]
    return ["source", *best, *_only_if(with_unknown, names.UNKNOWN), "error"]


def _cells(row: Mapping[str, Any], topk: int, with_unknown: bool) -> list[Any]:
    """Values in the order of _columns; None where there are fewer classes than topk, or an error."""
    best = [cell for pair in zip(row["labels"], row["scores"], strict=True) for cell in pair]
    missing = [None] * (2 * topk - len(best))
    return [row["source"], *best, *missing, *_only_if(with_unknown, row.get(names.UNKNOWN)), row["error"]]


def _only_if(with_unknown: bool, value: Any) -> list[Any]:
    return [value] if with_unknown else []


def _of_csv(prediction: "Prediction") -> dict[str, Any]:
    row = _row(prediction, lambda score: f"{score:.6g}")
    # As JSON spells it.
    return row | ({names.UNKNOWN: str(prediction.is_unknown).lower()} if names.UNKNOWN in row else {})


def _csv_row(cells: Sequence[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def _json_line(prediction: "Prediction", digits: Callable[[float], float]) -> str:
    return json.dumps(_row(prediction, digits), ensure_ascii=False)


def _row(prediction: "Prediction", digits: Callable[[float], Any]) -> dict[str, Any]:
    """What is told of a picture; the error, or that there is none, comes last."""
    row: dict[str, Any] = {
        "source": prediction.source,
        "labels": prediction.labels,
        "scores": [digits(score) for score in prediction.scores],
    }
    if prediction.is_unknown is not None:
        row[names.UNKNOWN] = prediction.is_unknown
    return row | {"error": prediction.error}


def _six_digits(score: float) -> float:
    return float(f"{score:.6g}")
