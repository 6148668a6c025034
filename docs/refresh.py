"""Runs every command of the pages in a folder of real pictures, and writes what it prints under it.

  python docs/refresh.py                 all pages
  python docs/refresh.py verbs/train.md  these, after the pages that they build on

A command is a line `$ ...` in a block ```console; what follows, up to the next one, is what it printed. Commands of a
block share a shell, so that a server can run in its background; all pages share a folder, in the order of PAGES.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from modelscope_beit.commands.demo_training import write_digits
from modelscope_beit.prediction.answering import shipped_pictures

HERE = Path(__file__).resolve().parent
# A page may use what those before it have made.
VERBS = "describe predict train resume evaluate calibrate embed probe convert export verify bench publish serve"
PAGES = ["first-model.md", *(f"verbs/{verb}.md" for verb in f"{VERBS} tokenizer pretrain run demo".split())]
PICTURES = HERE / "pictures"

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Ends what a command has printed, with its exit status.
_END = re.compile(r"\x1e(\d+)\n")


@dataclass(frozen=True)
class Command:
    """A line of a console block without its `$ `, continued ones joined, and what is written under it."""

    line: str
    output: str


def commands(block: str) -> list[Command]:
    """Returns the commands of a console block. Lines that end with a backslash go on."""
    found: list[Command] = []
    is_continued = False
    for line in block.splitlines(keepends=True):
        if line.startswith("$ ") or is_continued:
            text = line.rstrip("\n")
            before = found.pop().line + "\n" if is_continued else ""
            found.append(Command(before + (text if is_continued else text.removeprefix("$ ")), ""))
            is_continued = text.endswith("\\")
        elif found:
            found[-1] = Command(found[-1].line, found[-1].output + line)
    return found


def blocks(page: Path) -> list[list[Command]]:
    """Returns the commands of each console block of a page."""
    return [commands(found[1]) for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def prepare(folder: Path) -> dict[str, str]:
    """Writes what a reader has at hand, and returns the environment in which `beit` is the command of this checkout."""
    write_digits(folder / "digits")
    (folder / "photos").mkdir()
    for path in shipped_pictures()[::2]:
        shutil.copy(path, folder / "photos" / f"{path.stem.rpartition('_')[0]}.png")
    (folder / "script.py").write_text("import sys\n\nprint('a script of yours was given', sys.argv[1:])\n")
    (folder / "bin").mkdir()
    for name, command in {"beit": "-m modelscope_beit", "python": ""}.items():
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
        script.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(HERE.parent),
        "COLUMNS": "110",
        "CUDA_VISIBLE_DEVICES": "",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def run_block(told: list[Command], folder: Path, environment: dict[str, str]) -> list[Command]:
    """Returns the commands of a block with what they print now; what still runs in the background is ended."""
    script = "".join(f"{{ {one.line}\n}} 2>&1\nprintf '\\036%s\\n' $?\n" for one in told)
    script += "kill $(jobs -p) 2>/dev/null; wait 2>/dev/null\n"
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    parts = _END.split(done.stdout)
    return [
        Command(one.line, _readable(parts[2 * number], int(parts[2 * number + 1]), folder))
        for number, one in enumerate(told)
    ]


def _readable(output: str, status: int, folder: Path) -> str:
    """Returns what was printed without where the folder and the checkout lie; an exit status other than 0 is told."""
    for place in (folder, HERE.parent):
        output = output.replace(f"{place}/", "").replace(str(place), ".")
    lines = [line.rstrip() for line in output.splitlines()]
    text = "\n".join(lines).strip("\n")
    return (text + "\n" if text else "") + (f"[exit status {status}]\n" if status else "")


def refresh(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Writes what the commands of a page print into it."""
    text = page.read_text(encoding="utf-8")

    def replaced(found: re.Match[str]) -> str:
        return "```console\n" + "".join(_lines(run_block(commands(found[1]), folder, environment))) + "```"

    page.write_text(_BLOCK.sub(replaced, text), encoding="utf-8")


def _lines(told: list[Command]) -> Iterator[str]:
    for one in told:
        yield f"$ {one.line}\n{one.output}"


def main() -> None:
    """Refreshes the pages that are named, or all, and the pictures that they show."""
    wanted = sys.argv[1:] or PAGES
    console = Console()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        environment = prepare(folder)
        for name in PAGES[: 1 + max(PAGES.index(name) for name in wanted)]:
            console.print(f"{name} ...")
            if name in wanted:
                refresh(HERE / name, folder, environment)
            else:
                for told in blocks(HERE / name):
                    run_block(told, folder, environment)
        for source, target in {"runs/digits/curves.png": "curves.png"}.items():
            shutil.copy(folder / source, PICTURES / target)


if __name__ == "__main__":
    main()
