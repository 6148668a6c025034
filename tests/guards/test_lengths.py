"""The budget of lines and arguments. Exceptions have a date and a reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import helpers

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_ARGUMENTS = 9

# "path" or "path:function" -> "YYYY-MM-DD reason".
EXCEPTIONS: dict[str, str] = {
    "modelscope_beit/plugin/trainer.py:__init__": "2026-11-21 the keywords of ModelScope's stock trainer",
    "modelscope_beit/data/batches.py:training_batches": "2026-11-21 everything that decides which batch comes next",
}


def python_files() -> list[Path]:
    folders = ("modelscope_beit", "tests", "demo", "benchmarks")
    return [helpers.ROOT / "setup.py", *(path for name in folders for path in (helpers.ROOT / name).rglob("*.py"))]


def excesses(name: str, source: str) -> Iterator[tuple[str, str]]:
    """Yields (what is too long, by how much) of one file."""
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield name, f"{lines} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{name}:{node.name}", f"{length} lines, at most {MAX_FUNCTION_LINES}"
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
        if count > MAX_ARGUMENTS:
            yield f"{name}:{node.name}", f"{count} arguments, at most {MAX_ARGUMENTS}"


def all_excesses() -> dict[str, str]:
    found = {}
    for path in python_files():
        found |= dict(excesses(path.relative_to(helpers.ROOT).as_posix(), path.read_text(encoding="utf-8")))
    return found


def test_files__keep_within_the_budget() -> None:
    too_long = {name: what for name, what in all_excesses().items() if name not in EXCEPTIONS}
    assert not too_long, too_long


def test_exceptions__are_still_needed() -> None:
    assert EXCEPTIONS.keys() <= all_excesses().keys()


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("x = 1\n" * 401, "401 lines"),
        ("def f():\n" + "    x = 1\n" * 60, "61 lines"),
        ("class A:\n    def f(self, a, b, c, d, e, f, g, h, i, *, j): ...\n", "10 arguments"),
    ],
)
def test_excesses__finds(source: str, what: str) -> None:
    ((_, found),) = excesses("made_up.py", source)
    assert what in found


def test_excesses__passes_the_limit() -> None:
    source = "def f(a, b, c, d, e, f, g, h, i):\n" + "    x = 1\n" * 59
    assert list(excesses("made_up.py", source)) == []
