"""The table of verbs, help without torch, and the exit statuses of a good Unix tool."""

import importlib
import os
import subprocess
import sys

import pytest

import modelscope_beit
from modelscope_beit.__main__ import VERBS, main
from modelscope_beit.errors import SettingsError


def stop(argv: list[str]) -> int | str | None:
    """Returns the status with which argparse leaves the program."""
    with pytest.raises(SystemExit) as caught:
        main(argv)
    return caught.value.code


@pytest.mark.parametrize("argv", [["--help"], ["-h"], []])
def test_main__help_names_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stop(argv) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {verb} " in printed for verb in VERBS)


def test_main__version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert stop(["--version"]) == 0
    assert capsys.readouterr().out == f"beit {modelscope_beit.__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("predcit", "predict"), ("describ", "describe"), ("conver", "convert")])
def test_main__suggests_the_nearest_verb(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stop([typed, "a", "--option"]) == 2
    assert f"there is no verb {typed}; did you mean {meant}?" in capsys.readouterr().err


def test_main__lists_the_verbs_when_none_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert stop(["xyzzy"]) == 2
    assert "predict, train" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_verbs__have_a_help_that_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stop([verb, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"usage: beit {verb}" in printed
    assert printed.count(f"beit {verb}") >= 3  # The usage, and two examples at least.


def test_verbs__need_no_torch_for_their_help() -> None:
    """In a fresh process: the help of all commands, and what has been imported by then."""
    modules = [module for module, _ in VERBS.values()]
    code = (
        "import argparse, importlib, sys, modelscope_beit.__main__\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name).add_arguments(argparse.ArgumentParser())\n"
        "print([name for name in ('torch', 'modelscope', 'numpy', 'PIL', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class Command:
    """Stands in for the module of a verb."""

    def __init__(self, outcome: int | BaseException) -> None:
        self.outcome = outcome

    def add_arguments(self, parser: object) -> None:
        """Adds none."""

    def run(self, arguments: object) -> int:
        """Does what the test wants."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(0, 0), (3, 3), (SettingsError("topk must be at least 1, not 0."), 2), (KeyboardInterrupt(), 130)],
)
def test_main__returns_the_exit_status(
    outcome: int | BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: Command(outcome))
    assert main(["predict"]) == status
    expected = f"beit: {outcome}\n" if isinstance(outcome, SettingsError) else ""
    assert capsys.readouterr().err == expected


def test_main__shows_the_traceback_of_what_nobody_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: Command(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["predict"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_main__ends_quietly_when_the_reader_has_gone() -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN_WITH_A_TALKATIVE_COMMAND], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    os.read(reader, 10)
    os.close(reader)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (141, b"")


_MAIN_WITH_A_TALKATIVE_COMMAND = """
import importlib, itertools, sys, types
from modelscope_beit.__main__ import main
command = types.SimpleNamespace(add_arguments=lambda p: None, run=lambda a: [print("line") for _ in itertools.count()])
command.__doc__ = ""
importlib.import_module = lambda name: command
sys.exit(main(["predict"]))
"""
