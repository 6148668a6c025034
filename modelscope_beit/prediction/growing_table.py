"""A table that grows by a row per picture and outlives its process: one that died, by SIGKILL too, is gone on with.

Rows are written as they come, into ``NAME.partial.SUFFIX`` beside the table. Only when all are there do they take
its name, so an earlier table stays as it was until then. Of several processes each has a file of its own,
``NAME.rank-0-of-2.SUFFIX``; the one that is the last to end joins them. Rows of a parquet file are json lines until
then: ``NAME.partial.parquet.jsonl``. Beside them is a record of what the run was begun with (run_record.py).

What went on is equal, byte for byte, to what was never stopped: pictures go on in the batches that they had, so the
rows of a batch that is not whole are given up.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from modelscope_beit.errors import BeitError, SettingsError
from modelscope_beit.prediction.joining import RowCount, join_shares
from modelscope_beit.prediction.run_record import check_record, find_records, record_path, write_record
from modelscope_beit.prediction.shards import Shard
from modelscope_beit.prediction.sources import printable
from modelscope_beit.prediction.tables import PARQUET, check_table, row_format

if TYPE_CHECKING:
    # Only its name is needed, and it would bring torch: a wrong file name should be told at once.
    from modelscope_beit.prediction.stream import Prediction

_ALL = Shard()


class GrowingTable:
    """A table under way; made by open_table.

    count: its rows so far, those of an earlier run too; of several processes, those of this one.
    kept: the rows of an earlier run among them. whole: the rows of the whole table as soon as it is there; None
    before, and in a process that is not the last of several.
    """

    def __init__(self, path: Path, topk: int, batch_size: int, shard: Shard, with_unknown: bool) -> None:
        self.count, self.kept = RowCount(), 0
        self.whole: RowCount | None = None
        self._path, self._topk, self._batch_size, self._shard = path, topk, batch_size, shard
        self._with_unknown = with_unknown
        self._layout = row_format(path, topk, with_unknown=with_unknown)
        self._partial = partial_path(path, shard)
        self._share = _share_path(path, shard)
        self._file: BinaryIO

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Begins without a row; those of an earlier run are gone."""
        with _writing(self._partial):
            write_record(self._partial, settings)
            if self._shard.count > 1:
                self._share.unlink(missing_ok=True)
            self._file = open(self._partial, "w+b")  # Closed by close().
            self._file.write(self._layout.head)
            self._file.flush()

    def go_on(self, settings: Mapping[str, Any]) -> None:
        """Begins with the rows of an earlier run, if there was one; changes none of them yet.

        Raises SettingsError if that run was begun with other settings, or by another number of processes.
        """
        own = record_path(self._partial)
        others = [path for path in _records(self._path) if path not in map(record_path, self._partials())]
        if others:
            raise SettingsError(
                f"{others[0]} says that another number of processes than {self._shard.count} has begun this table. "
                "Go on with as many, or begin anew, without --resume."
            )
        if not any(path.exists() for path in (own, self._partial, self._share)):
            return self.begin(settings)
        check_record(self._partial, settings)
        with _writing(self._partial):
            if self._share.exists():
                os.replace(self._share, self._partial)
            self._file = open(self._partial, "r+b" if self._partial.exists() else "w+b")  # Closed by close().
        return None

    def remaining(self, sources: Iterator[str]) -> Iterator[str]:
        """Returns the pictures that have no row, once those that have one have been compared with the rows.

        sources: this process's share of all pictures. Raises SettingsError if the first ones are not those of the rows.
        """
        place = end = len(self._layout.head)
        count, begun = RowCount(), []  # begun: the pictures of a batch that may not be whole
        self._file.seek(0)
        for row in self._layout.rows(self._file):
            source = next(sources, None)
            if source is None or not row.startswith(self._layout.beginning(printable(source))):
                raise SettingsError(_why_others(self._partial, count.total, row, source))
            begun.append(source)
            place += len(row)
            count.total += 1
            count.failed += not row.endswith(self._layout.end_without_error)
            if len(begun) == self._batch_size:
                self.count, end = RowCount(count.total, count.failed), place
                begun.clear()
        self.kept = self.count.total
        with _writing(self._partial):
            self._file.seek(0)
            self._file.write(self._layout.head)
            self._file.seek(end)
            self._file.truncate()
        return chain(begun, sources)

    def append(self, prediction: "Prediction") -> None:
        """Writes the row of the next picture; it stays even if the process ends now."""
        with _writing(self._partial):
            self._file.write(self._layout.row(prediction))
            self._file.flush()
        self.count.total += 1
        self.count.failed += prediction.error is not None

    def close(self) -> None:
        """Leaves the rows where they are."""
        # The error that stopped the rows is the one to tell, not a second one from a full disk.
        with suppress(OSError):
            self._file.close()

    def finish(self) -> None:
        """Makes the rows the table; of several processes, the last one to end does, with those of all."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._partial, self._share)
        if self._shard.count == 1 and self._path.suffix.lower() != PARQUET:
            os.replace(self._share, self._path)
            record_path(self._partial).unlink(missing_ok=True)
            self.whole = self.count
            return
        self.whole = join_shares(
            self._path,
            [_share_path(self._path, shard) for shard in self._shard.all()],
            records=[record_path(partial) for partial in self._partials()],
            beside=self._path.with_name(f"{self._path.stem}{_of(self._shard)}.joining{self._path.suffix}"),
            topk=self._topk,
            batch_size=self._batch_size,
            with_unknown=self._with_unknown,
        )

    def _partials(self) -> list[Path]:
        return [partial_path(self._path, shard) for shard in self._shard.all()]


@contextmanager
def open_table(
    path: Path,
    topk: int,
    *,
    batch_size: int = 1,
    shard: Shard = _ALL,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    with_unknown: bool = False,
) -> Iterator[GrowingTable]:
    """Gives a table to append predictions to; at the end the file is there, whole.

    topk: classes told per picture; csv and parquet have so many columns of labels and scores.
    batch_size: rows that stay together when a run goes on. shard: the share of this process.
    settings: what a run that goes on must have in common with the one that began, by the names that people know.
    resume: goes on with the rows of an earlier run, if there are any; then `remaining` has to be called first.
    with_unknown: there is a column for whether a picture is unknown, as calibrated models say.
    Raises SettingsError as check_table does and if it cannot be gone on with, BeitError if writing fails.
    An earlier file of this name stays as it was until the new one is whole.
    """
    check_table(path)
    table = GrowingTable(path, topk, batch_size, shard, with_unknown)
    (table.go_on if resume else table.begin)(settings or {})
    try:
        yield table
    except BaseException:
        table.close()
        raise
    with _writing(path):
        table.finish()


def partial_path(path: Path, shard: Shard = _ALL) -> Path:
    """Returns where the rows are until the table is whole: preds.csv -> preds.partial.csv."""
    return path.with_name(f"{path.stem}{_of(shard)}.partial{_ending(path)}")


def is_finished(path: Path) -> bool:
    """Tells whether a table is there and no run that would write it anew has begun and not ended."""
    return path.is_file() and not _records(path)


def _share_path(path: Path, shard: Shard) -> Path:
    """Where the rows are when there are no more to come from this process."""
    return path.with_name(f"{path.stem}{_of(shard)}{_ending(path)}") if shard.count > 1 else partial_path(path)


def _records(path: Path) -> list[Path]:
    """The records of runs towards this table, of any number of processes."""
    of_any = rf"(\.rank-\d+-of-\d+)?\.partial{re.escape(_ending(path))}"
    return find_records(path.parent, re.compile(re.escape(path.stem) + of_any))


def _of(shard: Shard) -> str:
    return f".rank-{shard.rank}-of-{shard.count}" if shard.count > 1 else ""


def _ending(path: Path) -> str:
    return f"{path.suffix}.jsonl" if path.suffix.lower() == PARQUET else path.suffix


def _why_others(partial: Path, place: int, row: bytes, source: str | None) -> str:
    named = "there are no more pictures" if source is None else f"the picture is {printable(source)}"
    told = row[:160].decode(errors="backslashreplace").rstrip()
    return (
        f"{partial} was begun with other pictures: its row {place + 1} is {told!r}, but here {named}. Name the same "
        "ones in the same order, or begin anew, without --resume."
    )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BeitError(f"Writing the table {path} failed: {error}.") from error
