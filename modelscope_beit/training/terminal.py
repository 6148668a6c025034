"""What a person sees while a run goes on: its lines, and on a terminal a progress bar below them. Both on stderr."""

import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_SECONDS_BETWEEN_DRAWINGS = 0.25


class Terminal:
    """Prints lines, and draws the bar if stderr is a terminal. total_iterations: when the bar is full.

    The bar is drawn from `advance` only. A thread that draws by itself might hold a lock at the moment when the loader
    forks its workers, which would then wait for it forever.
    """

    def __init__(self, total_iterations: int) -> None:
        self._bar: Progress | None = None
        self._draw_next = 0.0
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
            self._bar = Progress(
                *columns,
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=total_iterations, facts="")

    def line(self, text: str) -> None:
        """Prints a line at once, above the bar if there is one."""
        if self._bar is None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
        else:
            # Brackets and colons are the user's, not rich's; a line is never cut.
            self._bar.console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def is_due(self) -> bool:
        """Tells whether there is a bar that may be drawn again; cheap enough to be asked in every iteration."""
        return self._bar is not None and time.perf_counter() >= self._draw_next

    def advance(self, iterations: int, head: str, facts: str, seconds_left: float) -> None:
        """Draws the bar. iterations: completed ones. head, facts: left and right of it, e.g. the epoch, the loss."""
        if self._bar is None:
            return
        self._draw_next = time.perf_counter() + _SECONDS_BETWEEN_DRAWINGS
        left = timedelta(seconds=int(seconds_left))
        self._bar.start()
        self._bar.update(
            self._task, completed=iterations, description=head, facts=f"{facts}  {left} left".strip(), refresh=True
        )

    def close(self) -> None:
        """Takes the bar away and shows the cursor again."""
        if self._bar is not None:
            self._bar.stop()
