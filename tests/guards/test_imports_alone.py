"""No module waits for another one that waits for it; every part imports on its own, silently, without a warning."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.util import find_spec

import pytest

import helpers

PARTS = sorted({path.relative_to(helpers.PACKAGE).parts[0].removesuffix(".py") for path in helpers.source_files()})

# Such modules are imported only where mmcls is installed.
OF_MMCLS = re.compile(r"^(from|import) (mmcls|mmcv)\b", re.MULTILINE)


def dotted(part: str) -> list[str]:
    """Returns the names of all modules of a part of the package."""
    names = []
    for path in helpers.source_files():
        if find_spec("mmcls") is None and OF_MMCLS.search(path.read_text(encoding="utf-8")):
            continue
        relative = path.relative_to(helpers.ROOT).with_suffix("")
        if relative.parts[1].removesuffix(".py") != part:
            continue
        names.append(".".join(relative.parts).removesuffix(".__init__"))
    return names


def first_imports(source: str) -> set[str]:
    """Returns the modules of ours, and their names' modules, that a module imports when it is imported itself."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_modules__do_not_wait_for_each_other() -> None:
    """With no circle among imports, a module that imports in one order of all imports in every other order too."""
    names = {
        ".".join(path.relative_to(helpers.ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in helpers.source_files()
        # The package itself states its version before it imports what asks for it.
        if path != helpers.PACKAGE / "__init__.py"
    }
    waits = {name: first_imports(path.read_text(encoding="utf-8")) & names.keys() for name, path in names.items()}
    TopologicalSorter(waits).prepare()  # Raises CycleError, which names the modules of the circle.


def test_first_imports__are_those_of_the_module_itself() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    import later"
    assert first_imports(source) == {"a.b", "c", "c.d"}


@pytest.mark.parametrize("part", PARTS)
def test_part__imports_in_a_fresh_interpreter(part: str) -> None:
    """Nothing was imported before, neither ours nor others'; a warning that a module of ours causes is an error."""
    program = (
        "import importlib, sys, warnings\n"
        "warnings.filterwarnings('error', module='modelscope_beit')\n"
        "for name in sys.argv[1:]: importlib.import_module(name)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, *dotted(part)]
    finished = subprocess.run(command, cwd=helpers.ROOT, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
