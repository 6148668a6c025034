"""Two real processes of torchrun, on processors, beside one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import helpers
from modelscope_beit.training.finetune import finetune
from training_jobs import configuration, make_job, weights_of

SCRIPT = """
import json, sys
from pathlib import Path
import torch.distributed
import training_jobs
from modelscope_beit.training.finetune import finetune
content = json.loads(Path(sys.argv[2]).read_text())
result = finetune(training_jobs.make_job(Path(sys.argv[1]), content))
print("RESULT", torch.distributed.get_rank(), result.iterations, flush=True)
torch.distributed.destroy_process_group()
"""


def without_chance(batch_size: int, **changes: object) -> dict[str, object]:
    """Augmentation and drop path off; 22 pictures make an uneven last batch."""
    dataloader = {"batch_size_per_gpu": batch_size, "workers_per_gpu": 0}
    content = configuration({"max_epochs": 1, "dataloader": dataloader, **changes}, drop_path=0.0)
    content["preprocessor"]["train"] = content["preprocessor"]["val"]
    return content


def torchrun(work_dir: Path, content: dict[str, object]) -> str:
    """Runs the job in two processes; returns what they printed."""
    (work_dir.parent / "content.json").write_text(json.dumps(content))
    (work_dir.parent / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(work_dir.parent / "script.py"), str(work_dir), str(work_dir.parent / "content.json")]
    paths = os.pathsep.join([str(helpers.ROOT), str(helpers.ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_two_processes__half_the_batch_each_give_the_weights_of_one(tmp_path: Path) -> None:
    make_job(tmp_path / "one")  # Writes the start weights that both share.
    output = torchrun(tmp_path / "two", without_chance(4))
    assert output.count("RESULT") == 2
    finetune(make_job(tmp_path / "one", without_chance(8)))
    one, two = (weights_of(tmp_path / name / "epoch_1.pth") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-6)
    logs = [path.name for path in (tmp_path / "two").iterdir() if path.name.endswith(".log.json")]
    assert len(logs) == 1, "one process writes"
    lines = [json.loads(line) for line in (tmp_path / "two" / logs[0]).read_text().splitlines()]
    ours = [json.loads(line) for line in next((tmp_path / "one").glob("*.log.json")).read_text().splitlines()]
    accuracy = [line["accuracy_top-1"] for part in (lines, ours) for line in part if line.get("mode") == "val"]
    assert accuracy[0] == pytest.approx(accuracy[1]), "every validation picture counts once"


def test_two_processes__go_on_bit_for_bit(tmp_path: Path) -> None:
    make_job(tmp_path / "start")  # Writes the start weights that both share.
    fixed = {"max_epochs": 2, "lr_config": {"policy": "fixed"}}
    torchrun(tmp_path / "whole", configuration(fixed))
    torchrun(tmp_path / "parts", configuration(fixed | {"max_epochs": 1}))
    torchrun(tmp_path / "parts", configuration(fixed | {"resume_from": str(tmp_path / "parts" / "epoch_1.pth")}))
    whole, parts = (weights_of(tmp_path / name / "epoch_2.pth") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
