"""The public surface: module-level names, commands and their options are those of public_surface.json.

Whoever adds or removes one edits the inventory with this command, and the change shows up in the review:

    python tests/guards/test_public_surface.py
"""

import argparse
import ast
import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "modelscope_beit"
INVENTORY = Path(__file__).with_name("public_surface.json")


def public_names(source: str) -> list[str]:
    """Returns the functions, classes and constants that a module defines (not imports), without underscore."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [target.id for target in targets if isinstance(target, ast.Name)]
    return sorted(name for name in found if not name.startswith("_") or name == "__version__")


def options(command: str) -> list[str]:
    """Returns what a command takes: names of positional arguments, and option strings."""
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"modelscope_beit.commands.{command}").add_arguments(parser)
    return [" ".join(action.option_strings) or action.dest for action in parser._actions]


def surface() -> dict[str, dict[str, list[str]]]:
    """Returns the package as it is now."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        names = public_names(path.read_text(encoding="utf-8"))
        if names:
            modules[path.relative_to(PACKAGE).as_posix()] = names
    commands = [name for name, names in modules.items() if name.startswith("commands/") and "add_arguments" in names]
    return {"commands": {(stem := Path(name).stem): options(stem) for name in commands}, "modules": modules}


def written(content: dict[str, dict[str, list[str]]]) -> str:
    """Returns the inventory as text, one module or command a line, so that a review shows what changed."""
    sections = []
    for title, entries in content.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(names)}" for name, names in entries.items()]
        sections.append(f"  {json.dumps(title)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def test_surface__is_the_inventory() -> None:
    now, before = surface(), json.loads(INVENTORY.read_text())
    for section, entries in now.items():
        stated = before[section]
        changed = {
            name: entries.get(name) for name in entries.keys() | stated.keys() if entries.get(name) != stated.get(name)
        }
        assert not changed, f"If this change is meant, run: python {Path(__file__).relative_to(ROOT)}"


def test_inventory__is_written_as_the_command_writes_it() -> None:
    assert INVENTORY.read_text() == written(surface())


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    INVENTORY.write_text(written(surface()))
