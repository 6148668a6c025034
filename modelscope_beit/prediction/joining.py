"""From the rows that one or several processes have written to the whole table."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from modelscope_beit.prediction.shards import interleaved
from modelscope_beit.prediction.tables import PARQUET, RowFormat, row_format, write_parquet


@dataclass
class RowCount:
    """Rows, and those of them that have an error."""

    total: int = 0
    failed: int = 0


def join_shares(
    path: Path,
    shares: Sequence[Path],
    *,
    beside: Path,
    topk: int,
    batch_size: int,
    records: Sequence[Path],
    with_unknown: bool = False,
) -> RowCount | None:
    """Writes the rows of all shares to a table, in the order of the pictures, and removes them and their records.

    shares: files of rows, in the order of their processes. records: of what each was begun with.
    beside: where the table is until it is whole.
    Returns None, and does nothing, if a share is not there or was begun with other settings than the others: it will
    come or be joined by its own process. Where two processes are the last at the same time, both write the same.
    Raises BeitError if the shares are not of the same pictures, OSError if writing fails.
    """
    count = RowCount()
    with ExitStack() as stack:
        try:
            files = [stack.enter_context(open(share, "rb")) for share in shares]
            settings = [record.read_text(encoding="utf-8") for record in records]
        except FileNotFoundError:
            return None
        if len(set(settings)) > 1:
            return None
        layout = row_format(path, topk, with_unknown=with_unknown)
        rows = interleaved([layout.rows(file) for file in files], batch_size)
        try:
            if path.suffix.lower() == PARQUET:
                write_parquet(beside, _counted(rows, layout, count), topk, with_unknown=with_unknown)
            else:
                _write_text(beside, layout.head, _counted(rows, layout, count))
            _sync(beside)
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    for done in (*records, *shares):
        done.unlink(missing_ok=True)
    return count


def _write_text(path: Path, head: bytes, rows: Iterable[bytes]) -> None:
    with open(path, "wb") as file:
        file.write(head)
        file.writelines(rows)


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _counted(rows: Iterable[bytes], layout: RowFormat, count: RowCount) -> Iterator[bytes]:
    for row in rows:
        count.total += 1
        count.failed += not row.endswith(layout.end_without_error)
        yield row
