"""How publishing looks on a terminal: files, checks, a bar while files are sent, and what came of it."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from modelscope_beit.commands.facts_view import print_facts, wide_console
from modelscope_beit.publishing.staged_folder import StagedFolder
from modelscope_beit.publishing.uploading import Uploaded

_VERDICTS = {True: "right", False: "WRONG"}
_SECONDS_BETWEEN_LINES = 30.0
_MOST_NAMED = 5


def show_staged(staged: StagedFolder) -> None:
    """Prints the files with their sizes, then the checks, to stdout."""
    console = wide_console()
    console.print(Text(f"{staged.folder} for {staged.destination}", style="bold"))
    files = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    files.add_column(justify="right", style="dim", no_wrap=True)
    files.add_column(overflow="fold")
    for name, size in staged.files.items():
        files.add_row(f"{size:,}", Text(name))
    files.add_row(f"{staged.size:,}", Text("bytes in all", style="dim"))
    console.print(files)
    console.print()
    checks = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    checks.add_column(no_wrap=True)
    checks.add_column(style="dim", no_wrap=True)
    checks.add_column(overflow="fold")
    for check in staged.checks:
        verdict = Text(_VERDICTS[check.is_right], style="" if check.is_right else "bold red")
        checks.add_row(verdict, Text(check.name), Text(check.finding))
    console.print(checks)
    if not staged.is_right:
        console.print(Text("Nothing was sent.", style="bold red"))


def show_uploaded(uploaded: Uploaded) -> None:
    """Prints where the model is, and what was sent."""
    facts = {
        "branch": uploaded.revision,
        "sent": _named(uploaded.files_new),
        "there already": _named(uploaded.files_same),
        "only on the hub": _named(uploaded.files_left),
        "tag": uploaded.tag or "",
    }
    print_facts(uploaded.url, {name: text for name, text in facts.items() if text})


class UploadProgress:
    """Says on stderr how many bytes were sent: a bar on a terminal, otherwise a line every half minute."""

    def __init__(self) -> None:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True) if sys.stderr.isatty() else None
        self._task = None if self._bar is None else self._bar.add_task("", total=None)
        self._say_next = 0.0

    def __enter__(self) -> "UploadProgress":
        self._start = time.perf_counter()
        self._say_next = self._start + _SECONDS_BETWEEN_LINES
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, sent: int, size: int) -> None:
        """Shows that so many bytes of so many were sent."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=sent, total=size)
            return
        now = time.perf_counter()
        if now >= self._say_next:
            speed = sent / max(now - self._start, 1e-9)
            left = f"{(size - sent) / speed:,.0f} s left" if speed else "unknown time left"
            print(f"{sent:,} of {size:,} bytes, {speed / 1e6:.1f} MB/s, {left}", file=sys.stderr, flush=True)
            self._say_next = now + _SECONDS_BETWEEN_LINES


def _named(files: tuple[str, ...]) -> str:
    """Returns e.g. "3 files: README.md, classname.txt, pytorch_model.pt"; "" for none."""
    if not files:
        return ""
    dots = ", ..." if len(files) > _MOST_NAMED else ""
    return f"{len(files)} file{'s' * (len(files) != 1)}: {', '.join(files[:_MOST_NAMED])}{dots}"
