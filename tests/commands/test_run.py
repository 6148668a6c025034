"""`beit run SCRIPT ARGS` beside `python SCRIPT ARGS`: what the script sees, says and returns is the same."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from modelscope_beit.commands import run
from modelscope_beit.errors import SettingsError

WHAT_A_SCRIPT_SEES = """
import sys, neighbour
print(sys.argv, sys.path[0], __name__, __file__, neighbour.__file__)
print(sys.modules["__main__"].__dict__ is globals())
"""


def python(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(helpers.ROOT)}
    return subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)


def both(folder: Path, *command: str) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Returns (status, output, errors) of `python ...` and of `python -m modelscope_beit run ...`."""
    plain, ours = python(folder, *command), python(folder, "-m", "modelscope_beit", "run", *command)
    return (plain.returncode, plain.stdout, plain.stderr), (ours.returncode, ours.stdout, ours.stderr)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "neighbour.py").write_text("")
    (folder / "sees.py").write_text(WHAT_A_SCRIPT_SEES)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [(), ("a b", "--epochs=3", "-h"), ("--help",), ("--", "-x", "--"), ("--json", "run", "")],
    ids=" ".join,
)
def test_run__gives_the_script_what_python_gives_it(scripts: Path, arguments: tuple[str, ...]) -> None:
    plain, ours = both(scripts, "scripts/sees.py", *arguments)
    assert plain[0] == 0
    assert ours == plain


def test_run__finds_the_neighbours_of_a_linked_script(scripts: Path) -> None:
    (scripts / "link.py").symlink_to(scripts / "scripts" / "sees.py")
    plain, ours = both(scripts, "link.py")
    assert plain[0] == 0
    assert ours == plain


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(7)",
        "import sys; sys.exit('the reason')",
        "def f():\n    raise ValueError('no')\nf()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('x') from error",
        "def f(:\n    pass",
        "import sys\nsys.excepthook = lambda *error: print('my own hook', error[1])\nraise OSError('x')",
        "raise SystemExit",
        # An error of this package is the script's affair, not that of the command line.
        "import modelscope_beit.errors\nraise modelscope_beit.errors.ImageError('x')",
    ],
)
def test_run__ends_as_the_script_does(tmp_path: Path, source: str) -> None:
    (tmp_path / "script.py").write_text(source)
    plain, ours = both(tmp_path, "script.py")
    assert ours == plain


def test_run__has_loaded_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from modelscope.utils.import_utils import LazyImportModule\n"
        "key = ('MODELS', 'image-classification', 'ClassificationModel')\n"
        "print(LazyImportModule.get_ast_index()['index'][key]['module'])"
    )
    finished = python(tmp_path, "-m", "modelscope_beit", "run", "script.py")
    assert finished.stdout == "modelscope_beit.plugin.model\n", finished.stderr


def test_run__works_under_torchrun(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import sys\nimport torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "assert 'modelscope_beit' in sys.modules and sys.argv[1:] == ['--size', '2']\n"
        "open(f'rank{dist.get_rank()}of{dist.get_world_size()}', 'w').close()\n"
        "dist.barrier()\n"  # or the first to finish closes its connection while the other still connects
        "dist.destroy_process_group()"
    )
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    finished = python(tmp_path, *torchrun, "-m", "modelscope_beit", "run", "script.py", "--size", "2")
    assert finished.returncode == 0, finished.stderr
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0of2", "rank1of2"]


def test_run__names_a_script_that_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "no.py")
    with pytest.raises(SettingsError, match="no script .*no.py"):
        run.run(argparse.Namespace(script=[missing]))
