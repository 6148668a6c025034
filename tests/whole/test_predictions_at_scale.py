"""`beit predict` over many pictures, killed for real: alone ten times in a row, one of two processes of torchrun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from modelscope_beit.__main__ import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{helpers.ROOT}{os.pathsep}{helpers.ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}


def many(ten_images: list[Path], count: int) -> Path:
    """A folder of so many names of the ten pictures, one of which is broken."""
    folder = ten_images[0].parent.parent / "many"
    folder.mkdir()
    ten_images[3].write_bytes(ten_images[3].read_bytes()[:500])
    for number in range(count):
        os.link(ten_images[number % 10], folder / f"{number:05}.jpg")
    return folder


def test_predict__killed_again_and_again_ends_with_the_same_bytes(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path
) -> None:
    times = 10
    whole, out = tmp_path / "whole.parquet", tmp_path / "preds.parquet"  # Its rows are text until the end, as all are.
    arguments = ["predict", str(tiny_model_folder), str(many(ten_images, 60 * times)), "--batch-size", "8"]
    assert main([*arguments, "--out", str(whole)]) == 3
    command = [sys.executable, str(helpers.ROOT / "tests" / "killed_predictions.py"), str(times), str(out)]
    done = subprocess.run(
        [*command, *arguments, "--out", str(out), "--resume"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *rows, status = map(int, done.stdout.split())
    assert status == 3 and len(rows) == times and rows == sorted(rows)
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*partial*"))


def test_predict__by_two_processes_goes_on_after_one_was_killed(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "preds.csv"
    arguments = ["predict", str(tiny_model_folder), str(many(ten_images, 400)), "--batch-size", "8"]
    assert main([*arguments, "--out", str(whole)]) == 3
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, str(helpers.ROOT / "tests" / "dying_rank.py")]

    def run(rows: int, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(rows), *arguments, "--out", str(out), *more], env=ENVIRONMENT, capture_output=True, text=True
        )

    died = run(13)
    assert died.returncode == 1 and "SIGKILL" in died.stderr, died.stderr
    assert not out.exists()
    done = run(-1, "--resume")
    # The status of torchrun is 1 whatever that of a process is: here 3, for the broken pictures.
    assert done.returncode == 1 and "exitcode  : 3" in done.stderr, done.stderr
    assert "after 8 of an earlier run" in done.stderr and "All 400 pictures" in done.stderr
    assert "40 of 400 pictures could not be classified" in done.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.csv*")) == ["preds.csv", "whole.csv"]
