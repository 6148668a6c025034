"""Every module imports on its own, in a fresh interpreter, silently and without a warning."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

import helpers

PARTS = sorted({path.relative_to(helpers.PACKAGE).parts[0].removesuffix(".py") for path in helpers.source_files()})

# Such modules are imported only where mmcls is installed.
OF_MMCLS = re.compile(r"^(from|import) (mmcls|mmcv)\b", re.MULTILINE)

# Other packages are imported first, with whatever they have to say. Then each module is imported in a child process
# that has seen no module of ours, so that none works only because of what another one imported before.
IN_A_CHILD_EACH = """
import importlib.util, os, sys, warnings
others = "torch torchvision modelscope.pipelines.base PIL.Image safetensors.torch rich matplotlib"
if importlib.util.find_spec("mmcls"):
    others += " mmcls.models mmcls.datasets"
for name in others.split():
    __import__(name)
sys.stdout.flush(), sys.stderr.flush()
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
os.dup2(1, 2)
warnings.simplefilter("ignore")  # Python warns of forking beside the threads that others have started.
for name in sys.argv[2:]:
    if os.fork() == 0:
        warnings.simplefilter("error")
        try:
            __import__(name)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def dotted(part: str = "") -> list[str]:
    """Returns the names of all modules of a part of the package, or of the whole package."""
    names = []
    for path in helpers.source_files():
        if find_spec("mmcls") is None and OF_MMCLS.search(path.read_text(encoding="utf-8")):
            continue
        relative = path.relative_to(helpers.ROOT).with_suffix("")
        if part and relative.parts[1] != part:
            continue
        names.append(".".join(relative.parts).removesuffix(".__init__"))
    return names


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
def test_module__imports_alone_silently(tmp_path: helpers.Path) -> None:
    spoken = tmp_path / "spoken.txt"
    command = [sys.executable, "-c", IN_A_CHILD_EACH, str(spoken), *dotted()]
    subprocess.run(command, cwd=helpers.ROOT, check=True, capture_output=True)
    assert spoken.read_text() == ""


@pytest.mark.parametrize("part", PARTS)
def test_part__imports_in_a_fresh_interpreter(part: str) -> None:
    """Nothing was imported before, neither ours nor others'."""
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    command = [sys.executable, "-W", "ignore", "-c", program, *dotted(part)]
    finished = subprocess.run(command, cwd=helpers.ROOT, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
