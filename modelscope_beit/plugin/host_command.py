"""`modelscope beit ...`: our verbs among the host's. The host imports this file for any of its commands.

So `modelscope server` and `modelscope pipeline` have the plug-in loaded without anybody importing it.
"""

import runpy
import sys
from argparse import PARSER
from typing import Any

from modelscope_hub.cli.base import CLICommand

from modelscope_beit.names import COMMAND


class BeitCommand(CLICommand):
    """The command as the host's entry points want it."""

    name = COMMAND

    @staticmethod
    def register(subparsers: Any) -> None:
        """Adds the command, which leaves every word after it to our own parser."""
        parser = subparsers.add_parser(COMMAND, help="Classify, train, export and serve BEiT models.", add_help=False)
        parser.add_argument("words", nargs=PARSER, help="a verb, and what follows it")
        parser.set_defaults(_command=BeitCommand)

    def execute(self) -> None:
        """Runs a verb as `python -m modelscope_beit` does, and ends the program with its exit status."""
        sys.argv = [COMMAND, *self.args.words]
        runpy.run_module("modelscope_beit", run_name="__main__")
