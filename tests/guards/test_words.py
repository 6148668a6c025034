"""What no tracked file may say: where it was written, which registry served it, work that was put off."""

import ast
import re
import subprocess

import pytest

import helpers

# The patterns are written so that they do not match themselves.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.])/(?:work|root|home/[a-z]+|Users/[A-Za-z]+)/[\w.]",
    "a package registry's host": r"\b(?:pypi|pythonhosted|debian|npmjs)[.](?:org|com|net)\b",
    "work put off": r"\b(?:FIX" r"ME|X{3})\b|\bTO" r"DO(?!\()",
}


def lines_with(pattern: str, *pathspecs: str) -> list[str]:
    """Returns "path:line: text" of every match in a tracked text file."""
    listing = subprocess.run(["git", "ls-files", "-z", *pathspecs], cwd=helpers.ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    found = []
    for name in filter(None, listing.stdout.split("\0")):
        path = helpers.ROOT / name
        content = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in content:
            lines = content.decode("utf-8").splitlines()
            found += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if re.search(pattern, line)]
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_tracked_file__does_not_say(what: str) -> None:
    found = lines_with(FORBIDDEN[what])
    assert not found, "\n" + "\n".join(found)


def prints_and_exits(source: str) -> list[int]:
    """Returns the lines that print, or end the process."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.exit", "exit", "SystemExit"):
            lines.append(node.lineno)
    return lines


def test_only_commands__print_and_exit() -> None:
    # The last one is a script that is copied beside exported files.
    allowed = (helpers.PACKAGE / "commands", helpers.PACKAGE / "__main__.py", helpers.PACKAGE / "export/classify.py")
    found = []
    for path in helpers.source_files():
        if not any(path.is_relative_to(place) for place in allowed):
            lines = prints_and_exits(path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(helpers.ROOT)}:{line}" for line in lines]
    assert not found


def test_prints_and_exits__finds_both() -> None:
    assert prints_and_exits("import sys\ndef f():\n    print(1)\n    sys.exit(2)\n'print(3)'") == [3, 4]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of somebody's machine", "see " + "/home" + "/ann/models"),
        ("a package registry's host", "https://" + "pypi" + ".org/simple"),
        ("work put off", "# TO" + "DO write this"),
    ],
)
def test_pattern__finds(what: str, line: str) -> None:
    assert re.search(FORBIDDEN[what], line)
