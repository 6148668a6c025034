"""The pages of docs/: each verb has one, their commands can be said to the program, and `make docs` has filled them."""

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

import helpers
from modelscope_beit.__main__ import VERBS

DOCS = helpers.ROOT / "docs"
_LINK = re.compile(r"\]\(([^)#:]+)\)")


def refresh_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", DOCS / "refresh.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules["refresh"] = module
    spec.loader.exec_module(module)
    return module


REFRESH = refresh_script()
PAGES = [DOCS / name for name in REFRESH.PAGES]


def beit_commands(page: Path) -> list[list[str]]:
    """Returns the words after `beit` of each command of a page, without what the shell does with its output."""
    found = []
    for block in REFRESH.blocks(page):
        for command in block:
            for words in re.split(r"&&|\|", command.line):
                if words.strip().startswith("beit "):
                    found.append(shlex.split(re.sub(r"( > \S+)?( 2>&1)?( &)?$", "", words.strip()))[1:])
    return found


def test_pages__one_for_each_verb_and_all_are_refreshed() -> None:
    assert {path.stem for path in (DOCS / "verbs").glob("*.md")} == set(VERBS)
    assert {page.relative_to(DOCS).as_posix() for page in PAGES} == {"first-model.md"} | {
        f"verbs/{verb}.md" for verb in VERBS
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__its_commands_have_their_output(page: Path) -> None:
    commands = [command for block in REFRESH.blocks(page) for command in block]
    assert commands, "a page without a command shows nothing"
    silent = ("cp", "mkdir", "rm", "echo", "printf")
    empty = [
        one.line
        for one in commands
        if not one.output and not one.line.startswith(silent) and "serve.log" not in one.line
    ]
    assert not [line for line in empty if "write_digits" not in line], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__its_commands_exist(page: Path) -> None:
    for verb, *rest in beit_commands(page):
        parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
        importlib.import_module(VERBS[verb][0]).add_arguments(parser)
        parser.parse_args(rest)
    if page.parent.name == "verbs":
        assert page.stem in {words[0] for words in beit_commands(page)}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_page__its_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in _LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not missing


def test_commands__with_their_output_and_continuations() -> None:
    found = REFRESH.commands("$ one \\\n  more\nsaid\nagain\n$ two\n")
    assert [(one.line, one.output) for one in found] == [("one \\\n  more", "said\nagain\n"), ("two", "")]


def test_run_block__prints_what_commands_say_and_their_status(tmp_path: Path) -> None:
    told = REFRESH.commands(f"$ echo {tmp_path}/a $NAME; echo wrong >&2\n$ sleep 60 &\n$ (exit 3)\n")
    first, second, third = REFRESH.run_block(told, tmp_path, {"NAME": "b", "PATH": "/usr/bin:/bin"})
    assert (first.output, second.output, third.output) == ("a b\nwrong\n", "", "[exit status 3]\n")


def test_troubleshooting__quotes_our_messages_as_they_are() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    source = "\n".join(path.read_text() for path in helpers.source_files())
    ours = [
        title.strip(" .")
        for title, body in re.findall(r"^## (.*)\n\n(.*)$", text, re.MULTILINE)
        if body.startswith("Ours. ")
    ]
    assert len(ours) >= 3
    for title in ours:
        longest = max(re.split(r"\.\.\.|; did.*", title), key=len).strip(" :")
        assert longest in source, longest
