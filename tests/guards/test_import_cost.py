"""What `import modelscope_beit` costs beside ModelScope's own import, and what it must not bring along."""

import subprocess
import sys
from statistics import median

import pytest

import fresh_interpreters
import helpers

RUNS = 5
AT_MOST_SECONDS = 0.3
HEAVY = {"mmcv", "mmcls", "cv2", "transformers", "timm", "datasets", "modelscope.pipelines", "modelscope.models.base"}
HOST_ALONE = "import modelscope"
ORDERS = ["import modelscope_beit, modelscope", "import modelscope, modelscope_beit"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")


def modules_and_errors(program: str) -> tuple[set[str], str]:
    """Returns the modules that are there after a program, and what it said; asserts that it printed nothing."""
    ((status, output, errors),) = fresh_interpreters.outcomes([f"{program}\nimport sys\nprint(*sys.modules)"])
    assert (status, output.count("\n")) == (0, 1), errors
    return set(output.split()), errors


def test_import__costs_little_over_the_hosts() -> None:
    """torch is there in all runs; they alternate, so that a busy machine slows all alike."""
    programs = [HOST_ALONE, *ORDERS]
    timed = [f"import time\nstart = time.perf_counter()\n{p}\nprint(time.perf_counter() - start)" for p in programs]
    seconds = [float(output) for _, output, _ in fresh_interpreters.outcomes(timed * RUNS)]
    alone, *together = (median(seconds[place :: len(programs)]) for place in range(len(programs)))
    assert max(together) - alone <= AT_MOST_SECONDS


@pytest.mark.parametrize("program", [*ORDERS, "import modelscope_beit.plugin.registration, modelscope.utils"])
def test_import__brings_nothing_heavy_and_says_nothing(program: str) -> None:
    host_modules, host_errors = modules_and_errors(HOST_ALONE)
    modules, errors = modules_and_errors(program)
    brought = {name.partition(".")[0] for name in modules - host_modules}
    assert brought - set(sys.stdlib_module_names) == {"modelscope_beit"}
    assert not HEAVY & modules
    assert errors == host_errors


def imported_by(*command: str) -> set[str]:
    """Returns the modules that a run of the interpreter imports, as it lists them itself."""
    finished = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=helpers.ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("command", [("-c", "import modelscope_beit"), ("-m", "modelscope_beit", "--help")])
def test_import__does_not_import_the_host(command: tuple[str, ...]) -> None:
    """So that `beit --help` need not wait for torch, which ModelScope imports."""
    assert not {"modelscope", "torch", "numpy"} & imported_by(*command)


def test_predict__never_imports_the_host(tiny_model_folder: helpers.Path, ten_images: list[helpers.Path]) -> None:
    """ModelScope's pipelines alone take seconds to import, and a local folder needs nothing of them."""
    modules = imported_by("-m", "modelscope_beit", "predict", str(tiny_model_folder), str(ten_images[0]))
    assert "torch" in modules
    assert "modelscope" not in modules
