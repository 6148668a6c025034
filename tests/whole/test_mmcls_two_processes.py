"""A network of mmcls in two processes: what batch norm, and a loss with a memory, hold is the same in both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmcls.models", reason="the network comes with the extra openmmlab")

import helpers
import train_mmcls_in_two_processes as script

FOLDERS = [str(helpers.ROOT), str(helpers.ROOT / "tests")]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(FOLDERS), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.openmmlab


def test_two_processes__hold_the_same_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    command = [sys.executable, script.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert len(first) == 4, "a checkpoint after each epoch"
    assert first == second
    # 14 pictures in batches of 8: the first process has seen 4 and 3 of them.
    assert sum(first[0]["head.compute_loss.cum_samples"]) == 7
    whole, parts = (torch.load(tmp_path / run / "epoch_2.pth", weights_only=True) for run in ("whole", "parts"))
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, parts["state_dict"][name]), name
    assert whole["state_dict"]["head.compute_loss.cum_samples"].tolist() == first[-1]["head.compute_loss.cum_samples"]
