"""The codebook in two real processes against one with both batches, and tensors of several processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from modelscope_beit.pretraining.all_processes import add_up, gather_rows, is_first, take_from_first
from tokenizer_in_two_processes import learned, trained

# Two interpreters have to start.
pytestmark = pytest.mark.slow
SCRIPT = helpers.ROOT / "tests" / "tokenizer_in_two_processes.py"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, photograph in enumerate(helpers.photographs() * 8):
        photograph.crop((30 * number, 20 * number, 30 * number + 64, 20 * number + 64)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def two_processes(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes wrote."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(SCRIPT)]
    environment = os.environ | {"PYTHONPATH": f"{helpers.ROOT}:{SCRIPT.parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(pictures), str(folder)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("revives", [False, True])
def test_codebook__two_processes_equal_one_with_both_batches(
    two_processes: list[dict[str, Any]], revives: bool
) -> None:
    first, second = (found[f"revives {revives}"] for found in two_processes)
    alone = learned(revives=revives, rank=0, count=1).state_dict()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=0, atol=1e-12)
    assert float((alone["codes"].norm(dim=1) - 1).abs().max()) < 1e-12


def test_pretrain__two_processes_train_the_tokenizer_of_one(
    two_processes: list[dict[str, Any]], pictures: Path, tmp_path: Path
) -> None:
    first, second = (found["trained"] for found in two_processes)
    alone = trained(pictures, tmp_path / "run", 4)
    assert int(alone["tokenizer.codebook.steps"]) == 4
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_all_processes__exchange_rows_sums_and_values(two_processes: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(two_processes):
        assert found["rows"] == [0.0, 1.0, 1.0]
        assert found["rows of one"] == [1, 3]
        assert (found["sum"], found["of the first"], found["is first"]) == (3.0, 5.0, rank == 0)


def test_all_processes__one_alone_is_all() -> None:
    rows = torch.rand(3, 2)
    assert gather_rows(rows) is add_up(rows) is take_from_first(rows) is rows and is_first()
