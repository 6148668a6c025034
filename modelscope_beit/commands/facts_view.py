"""How facts look on a terminal: a heading, then a name and a text on each row."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

# A pipe or a log has no width of its own; rich would assume a narrow 80.
_WIDTH_OF_A_LOG = 120


def print_facts(heading: str, facts: Mapping[str, str]) -> None:
    """Prints facts to stdout; texts are shown as they are, whatever brackets they contain, and wrapped, not cut."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(name, Text(text))
    console = wide_console()
    console.print(Text(heading, style="bold"))
    console.print(table)


def wide_console() -> Console:
    """Returns the terminal on stdout, or something as wide as a log if that is a pipe or a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_OF_A_LOG)
