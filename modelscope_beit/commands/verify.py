"""Check an exported model against its certificate, on this machine and without the model that it was made of.

Every file's digest, the pixels that preprocessing.json makes of the golden pictures, and the answers of each runtime
that is installed. The exit status is 1 if something is wrong.

Examples:
  beit verify garments
  beit verify garments/model.onnx --json
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from modelscope_beit.export.verifying import Check

WRONG = 1

_VERDICTS = {True: "right", False: "WRONG", None: "-"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the folder and the way of the answer."""
    parser.add_argument("path", type=Path, metavar="FOLDER_OR_FILE", help="an exported folder, or a file in it")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of a table")
    parser.add_argument("--trust-remote-code", action="store_true", help="allow files of torch, which can run code")


def run(arguments: argparse.Namespace) -> int:
    """Prints what was checked and returns 0, or 1 if something is wrong. Raises BeitError if nothing can be checked."""
    # Deferred, so that help and wrong usage are told at once: these bring torch and rich.
    from modelscope_beit.commands.facts_view import wide_console
    from modelscope_beit.export.verifying import verify

    checks = verify(arguments.path.expanduser(), trust_remote_code=arguments.trust_remote_code)
    is_right = all(check.is_right is not False for check in checks)
    if arguments.json:
        rows = [{"name": one.name, "finding": one.finding, "is_right": one.is_right} for one in checks]
        print(json.dumps({"is_right": is_right, "checks": rows}, indent=2, ensure_ascii=False))
    else:
        wide_console().print(_table(checks))
    return 0 if is_right else WRONG


def _table(checks: "list[Check]") -> "Table":
    # Deferred for the same reason.
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        style = "bold red" if check.is_right is False else ""
        table.add_row(Text(_VERDICTS[check.is_right], style=style), Text(check.name), Text(check.finding))
    return table
