"""Run somebody's Python script with the plug-in loaded, so that the script needs no changed line.

Everything after SCRIPT belongs to the script. Its exit status is the command's.

Examples:
  beit run train.py --epochs 3
  torchrun --nproc_per_node 2 -m modelscope_beit run train.py --epochs 3
"""

import argparse
import builtins
import os
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType, TracebackType

from modelscope_beit.errors import SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds SCRIPT and, verbatim, all that follows it."""
    # One argument for both: with REMAINDER for the second, argparse drops a `--` between them.
    parser.add_argument(
        "script",
        metavar="SCRIPT",
        nargs=argparse.PARSER,
        help="the Python file to run as `python SCRIPT` would, and then its own arguments, options included",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the script as ``__main__``; importing this package has loaded the plug-in.

    Returns 0, or 1 after an uncaught exception, whose traceback is shown as Python itself would show it.
    A SystemExit or KeyboardInterrupt of the script passes through. Raises SettingsError if there is no such file.
    """
    script: str = arguments.script[0]
    if not os.path.isfile(script):
        raise SettingsError(f"There is no script {script!r} in {os.getcwd()}; give the path of a Python file.")
    path = os.path.abspath(script)
    sys.argv[:] = arguments.script
    # With `python -P` the folder of the script is not on the path, and we have no entry to replace.
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    try:
        _execute(path)
    except Exception as error:
        traceback = _from_the_script_on(error.__traceback__, path)
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        return 1
    return 0


def _execute(path: str) -> None:
    """Runs a file as the module ``__main__``, which stays in place: pickles and threads may outlive the last line.

    The standard library's runpy would show the script another sys.argv[0] than Python does.
    """
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=builtins, __loader__=SourceFileLoader("__main__", path))
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _from_the_script_on(traceback: TracebackType | None, path: str) -> TracebackType | None:
    """Returns the traceback without our own frames; None if the script never ran (a syntax error)."""
    rest = traceback
    while rest is not None and rest.tb_frame.f_code.co_filename != path:
        rest = rest.tb_next
    return rest
