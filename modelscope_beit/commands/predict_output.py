"""Where `beit predict` puts what it finds: on standard output, in a table; and what it says on stderr at the end."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit.errors import SettingsError
from modelscope_beit.prediction.growing_table import GrowingTable, is_finished, open_table, partial_path
from modelscope_beit.prediction.run_record import model_digest
from modelscope_beit.prediction.shards import Shard
from modelscope_beit.prediction.sources import STANDARD_INPUT, expand_sources
from modelscope_beit.prediction.tables import check_table, json_line

if TYPE_CHECKING:
    from modelscope_beit.prediction.stream import Prediction

MOST_IN_A_TABLE = 20

_ERRORS_TOLD = 3


def check_output(arguments: argparse.Namespace, shard: Shard) -> None:
    """Raises SettingsError if a number, the table, the folder for drawn pictures or their combination cannot be."""
    numbers = {"topk": arguments.topk, "batch-size": arguments.batch_size, "workers": arguments.workers}
    problems = [f"--{name} must be at least 1, not {value}" for name, value in numbers.items() if value < 1]
    if arguments.resume and arguments.out is None:
        problems.append("--resume needs --out: the table whose rows are gone on with")
    if arguments.resume and arguments.draw is not None:
        problems.append("--draw cannot be resumed")
    if arguments.engine == "ray" and (arguments.out is None or arguments.json):
        problems.append("--engine ray needs --out and cannot --json: Ray has standard output for its own messages")
    if shard.count > 1:
        several = f"{shard.count} processes (WORLD_SIZE)"
        if arguments.out is None:
            problems.append(f"{several} need --out: a table that they join their rows in")
        if arguments.draw is not None:
            problems.append(f"{several} cannot --draw into one folder")
        if STANDARD_INPUT in arguments.sources:
            problems.append(f"{several} cannot read the list on standard input, which only one of them would get")
        if arguments.engine == "ray":
            problems.append(f"{several} cannot each use Ray, which shares the pictures among processes itself")
    if problems:
        raise SettingsError("; ".join(problems) + ".")
    if arguments.out is not None:
        check_table(arguments.out)
    if arguments.draw is not None:
        # Deferred: it brings Pillow and matplotlib.
        from modelscope_beit.prediction.drawing import check_drawing_folder

        check_drawing_folder(arguments.draw, arguments.sources)


def is_nothing_left(arguments: argparse.Namespace) -> bool:
    """Tells whether the table of a run that is to go on is whole already, and says so on stderr."""
    if not (arguments.resume and is_finished(arguments.out)):
        return False
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(arguments.out.stat().st_mtime))
    _tell(f"{arguments.out} is whole since {written}: nothing is left to do. Without --resume it is written anew.")
    return True


class PredictOutput:
    """What becomes of the predictions of one process; made by open_output."""

    def __init__(self, arguments: argparse.Namespace, shard: Shard, table: GrowingTable | None) -> None:
        self._arguments, self._shard, self._table = arguments, shard, table
        self._errors: list[str] = []
        self._total = self._failed = 0
        self._start = time.perf_counter()

    @property
    def has_failed(self) -> bool:
        """Whether a picture could not be classified; one of all processes, in the last one to end, else False.

        The others must not say so by their status: torchrun would end those that still work.
        """
        if self._table is None:
            return self._failed > 0
        return self._table.whole is not None and self._table.whole.failed > 0

    def remaining(self, sources: Iterator[str]) -> Iterator[str]:
        """Returns the pictures that an earlier run has left; raises SettingsError if it was a run of others."""
        return sources if self._table is None else self._table.remaining(sources)

    def show(self, predictions: "Iterable[Prediction]", *, is_long: bool) -> None:
        """Writes and prints each prediction as it comes, in the ways that the options ask for."""
        # Deferred, so that help and wrong usage are told at once: rich is not small.
        from modelscope_beit.commands.facts_view import wide_console
        from modelscope_beit.commands.prediction_view import PictureProgress, prediction_line, prediction_table

        self._start = time.perf_counter()
        few: list[Prediction] = []
        with PictureProgress(self._counter(), is_shown=self._shard.rank == 0) as progress:
            outputs: list[Callable[[Prediction], object]] = [lambda _: progress.advance()]
            if self._table is not None:
                outputs.append(self._table.append)
            if self._arguments.json:
                outputs.append(lambda prediction: progress.print_line(json_line(prediction)))
            elif self._table is None and is_long:
                outputs.append(lambda prediction: progress.print_line(prediction_line(prediction)))
            elif self._table is None:
                outputs.append(few.append)
            outputs.append(self._count)
            for prediction in predictions:
                for output in outputs:
                    output(prediction)
        if few:
            wide_console().print(prediction_table(few))

    def tell_end(self) -> None:
        """Says on stderr what was written and what failed."""
        seconds = time.perf_counter() - self._start
        total, failed, whole = self._total, self._failed, None
        if self._table is not None:
            kept, whole = self._table.kept, self._table.whole
            before = f", after {kept:,} of an earlier run" if kept else ""
            where = f"{self._arguments.out}"
            if self._shard.count > 1:
                where = f"the share of process {self._shard.rank} of {self._shard.count} in {where}"
            _tell(f"{total:,} pictures in {seconds:.1f} s ({total / seconds:.1f} images/s){before}: {where}")
            total, failed = self._table.count.total, self._table.count.failed
        if self._shard.count > 1 and whole is not None:
            _tell(f"All {whole.total:,} pictures: {self._arguments.out}")
            total, failed = whole.total, whole.failed
        if self._arguments.draw is not None:
            _tell(f"{total - failed:,} pictures drawn: {self._arguments.draw}")
        if failed:
            _tell(f"{failed:,} of {total:,} pictures could not be classified:", *self._errors)
            if failed > len(self._errors):
                _tell(f"  ... and {failed - len(self._errors):,} more; each has the reason in its row.")

    def tell_stop(self) -> None:
        """Says on stderr where the rows are of a run that was cut short."""
        if self._table is not None and self._table.count.total:
            kept = f"the rows of the first {self._table.count.total:,} pictures are kept in "
            _tell(f"Stopped: {kept}{partial_path(self._arguments.out, self._shard)}; go on by adding --resume.")

    def _count(self, prediction: "Prediction") -> None:
        self._total += 1
        if prediction.error is not None:
            self._failed += 1
            if self._failed <= _ERRORS_TOLD:
                self._errors.append(f"  {prediction.source}: {prediction.error}")

    def _counter(self) -> Callable[[], int] | None:
        """A function that counts the pictures that are left; None if a list on standard input hides their number."""
        named, batch_size = self._arguments.sources, self._arguments.batch_size
        if STANDARD_INPUT in named:
            return None
        kept = 0 if self._table is None else self._table.kept
        return lambda: sum(1 for _ in self._shard.of(expand_sources(named), batch_size)) - kept


@contextmanager
def open_output(
    arguments: argparse.Namespace, shard: Shard, model: Path, *, with_unknown: bool = False
) -> Iterator[PredictOutput]:
    """Gives the outputs that the options ask for; says on stderr at the end what became of them.

    with_unknown: the model tells whether a picture is of none of its classes.
    """
    with ExitStack() as stack:
        table = None
        if arguments.out is not None:
            settings = {
                "MODEL": model_digest(model),
                "--topk": arguments.topk,
                "--batch-size": arguments.batch_size,
                "--fast-decode": arguments.fast_decode,
                "--precision": arguments.precision,
                "--backend": arguments.backend,
                "--calibration": arguments.calibration,
            }
            opened = open_table(
                arguments.out,
                arguments.topk,
                batch_size=arguments.batch_size,
                shard=shard,
                settings=settings,
                resume=arguments.resume,
                with_unknown=with_unknown,
            )
            table = stack.enter_context(opened)
        output = PredictOutput(arguments, shard, table)
        try:
            yield output
        except BaseException:
            output.tell_stop()
            raise
    output.tell_end()


def _tell(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
