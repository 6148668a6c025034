"""metrics.csv: a row for every epoch and every validation, for spreadsheets and for drawing the curves."""

import csv
import io
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from modelscope_beit.checkpoints.files import write_atomically

METRICS_FILE = "metrics.csv"
# The columns that come first; those of the validation follow under mm's names, in the order in which they appear.
COLUMNS = ("epoch", "iteration", "learning_rate", "train_loss", "images_per_second", "seconds", "is_best")
# A further one, of the row in which early stopping ended the run.
STOPPED = "stopped_early"

# A row: column -> value. epoch and iteration are counted from 1; seconds: of training since the row before.
Row = dict[str, object]

_logger = logging.getLogger(__name__)


def write_metrics(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes the table, all or nothing; a list (a metric of each class) becomes a JSON list in its cell.

    Raises CheckpointError if the disk refuses.
    """
    rows = list(rows)
    found = dict.fromkeys(name for row in rows for name in row)
    columns = [*COLUMNS, *(name for name in found if name not in COLUMNS)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_atomically(path, lambda beside: beside.write_text(text.getvalue(), encoding="utf-8", newline=""))


def read_metrics(path: Path, *, until: int) -> list[Row]:
    """Returns the rows of a table up to an iteration, numbers as numbers; none if there is no such file.

    A row without an iteration, as a person or a spreadsheet may leave it, is left out, and the log says so.
    """
    if not path.exists():
        return []
    rows = []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, cells in enumerate(csv.DictReader(file), start=2):
            row: Row = {name: _value(cell) for name, cell in cells.items() if name and cell}
            iteration = row.get("iteration")
            if not isinstance(iteration, int):
                _logger.warning("%s, row %d has no whole number as its iteration; the row is dropped.", path, number)
            elif iteration <= until:
                rows.append(row)
    return rows


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, bool | list) else value


def _value(cell: str) -> object:
    try:
        return json.loads(cell)
    except ValueError:
        return cell
