"""A run that is killed again and again ends with the very weights of one that nobody disturbed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import helpers
from modelscope_beit.training.finetune import finetune
from training_jobs import configuration, make_job, weights_of

CHANGES = {
    "max_epochs": 8,
    "checkpoint_config": {"interval": 3, "by_epoch": False, "max_keep_ckpts": 2},
    "custom_hooks": [{"type": "EMAHook", "momentum": 0.1}],
}

# Forks a child for each part of the run, so that torch is imported once; kills it after a random number of steps.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import matplotlib.pyplot, sklearn.datasets, torch._dynamo  # once, not in every part
import training_jobs
from modelscope_beit.training import finetune as module

work_dir, changes, seed = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
kills = []

def run(pipe):
    step = module.train_step
    def told(*arguments):
        os.write(pipe, b".")
        return step(*arguments)
    module.train_step = told
    resume = {"resume_from": str(work_dir)} if list(work_dir.glob("iter_*.pth")) else {}
    module.finetune(training_jobs.make_job(work_dir, training_jobs.configuration(changes | resume)))

def part(steps):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            run(writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    seen = 0
    while seen != steps and os.read(reading, 1):
        seen += 1
    if seen == steps:
        time.sleep(draw.random() * 0.03)
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for _ in range(10):
    kills.append(part(draw.randint(1, 9)))
print("RESULT", json.dumps({"kills": kills, "end": part(-1)}))
"""


def test_killed_ten_times__same_weights_bit_for_bit(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    finetune(make_job(tmp_path / "whole" / "run", configuration(CHANGES)))
    (tmp_path / "parts").mkdir()
    command = [sys.executable, "-c", KILLER, str(tmp_path / "parts" / "run"), json.dumps(CHANGES), "7"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(helpers.ROOT), str(helpers.ROOT / "tests")])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    said = json.loads(done.stdout.rsplit("RESULT", 1)[1])
    assert said["end"] == 0, done.stderr[-3000:]
    assert said["kills"].count(-signal.SIGKILL) == 10, "every one of them really died of SIGKILL"
    whole, parts = (weights_of(tmp_path / name / "run" / "iter_48.pth") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert json.loads((tmp_path / "parts" / "run" / "run.json").read_text())["is_finished"]
    assert not list((tmp_path / "parts" / "run").glob(".*.partial"))


SCRIPT = """
import sys
from pathlib import Path
import training_jobs
from modelscope_beit.training.finetune import finetune
changes = {"max_epochs": 500, "checkpoint_config": {"interval": 500}, "evaluation": {"interval": 500}}
result = finetune(training_jobs.make_job(Path(sys.argv[1]), training_jobs.configuration(changes)))
print("RESULT", result.was_interrupted, result.iterations, result.checkpoint)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal__finishes_the_step_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(helpers.ROOT), str(helpers.ROOT / "tests")])}
    run = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    log = run / "20260101_000000.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "Epoch [2]" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert "RESULT True" in output
    checkpoint, iterations = Path(output.split()[-1]), int(output.split()[-2])
    # The signal may fall into the last step of an epoch, which has 22 pictures in batches of 4.
    assert checkpoint.name in (f"iter_{iterations}.pth", f"epoch_{iterations / 6:g}.pth")
    assert weights_of(checkpoint)
    assert f"beit resume {run}" in log.read_text()
