"""How predictions look on a terminal: a table with bars for a few, a line each for many, and a progress bar."""

import sys
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modelscope_beit.names import UNKNOWN
from modelscope_beit.prediction.stream import Prediction

_BAR_CELLS = 20


def prediction_table(predictions: Iterable[Prediction]) -> Table:
    """Returns a table with a row per picture: its name, best class, a bar, its probability, and the runners-up.

    A picture of none of the classes, as calibrated models may say, is "unknown", without a bar and a probability: those
    of its best class are of that alone, which is a runner-up.
    File names and labels are shown as they are, whatever brackets they contain; long ones are wrapped, not cut.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("picture", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("", width=_BAR_CELLS)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("runners-up", overflow="fold", style="dim")
    for prediction in predictions:
        picture = Text(prediction.source)
        if prediction.error is not None:
            table.add_row(picture, Text(prediction.error, style="red"))
            continue
        told = list(zip(prediction.labels, prediction.scores, strict=True))
        if prediction.is_unknown:
            table.add_row(picture, Text(UNKNOWN, style="yellow"), "", "", _runners_up(told))
            continue
        (label, score), *others = told
        bar = ProgressBar(total=1.0, completed=score, width=_BAR_CELLS)
        table.add_row(picture, Text(label, style="bold"), bar, f"{score:.1%}", _runners_up(others))
    return table


def _runners_up(told: Iterable[tuple[str, float]]) -> Group:
    return Group(*(Text(f"{score:.1%} {label}") for label, score in told))


def prediction_line(prediction: Prediction) -> str:
    """Returns one line: name, probability and best class, or name and error, with tabs between.

    A picture of none of the classes has the line "unknown, nearest: CLASS" in place of the class.
    """
    if prediction.error is not None:
        return f"{prediction.source}\terror\t{' '.join(prediction.error.split())}"
    said = f"{UNKNOWN}, nearest: {prediction.labels[0]}" if prediction.is_unknown else prediction.labels[0]
    return f"{prediction.source}\t{prediction.scores[0]:.1%}\t{said}"


class PictureProgress:
    """A bar on stderr with pictures per second and the time left; nothing at all if stderr is not a terminal.

    count: gives the number of pictures, asked in a thread of its own since it may take long; None: unknown.
    is_shown: False for a process whose bar another one shows in its place.
    """

    def __init__(self, count: Callable[[], int] | None, *, is_shown: bool = True) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), _PicturesPerSecond(), TimeRemainingColumn())
        self._bar = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,  # What goes to stdout stays there: it may be a pipe.
            disable=not (is_shown and sys.stderr.isatty()),
        )
        self._pictures = self._bar.add_task("", total=None)
        self._count = count

    def __enter__(self) -> "PictureProgress":
        self._bar.start()
        if self._count is not None and not self._bar.disable:
            threading.Thread(target=self._find_total, args=(self._count,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """Counts one more picture as done."""
        self._bar.advance(self._pictures)

    def print_line(self, line: str) -> None:
        """Prints a line to stdout at once; above the bar where both are on one terminal."""
        if self._bar.disable or not sys.stdout.isatty():
            print(line, flush=True)
        else:
            self._bar.console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def _find_total(self, count: Callable[[], int]) -> None:
        self._bar.update(self._pictures, total=count())


class _PicturesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Shows the speed over the last half minute."""
        return Text(f"{task.speed or 0.0:.1f} images/s")
