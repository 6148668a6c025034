"""Two processes on processors beside one: the same weights, one of them writes, both stop and fail together."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import helpers
import train_in_two_processes as script
import training_jobs
from modelscope_beit.checkpoints.files import write_weights
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.mm_model import read_mm_model
from modelscope_beit.training.finetune import finetune
from training_jobs import make_job, weights_of

FOLDERS = [str(helpers.ROOT), str(helpers.ROOT / "tests")]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(FOLDERS), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all the runs of train_in_two_processes.py, and of the same ones of one process."""
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        [sys.executable, script.__file__, str(folder)], capture_output=True, text=True, env=ENVIRONMENT, timeout=300
    )
    assert done.returncode == script.DIED, done.stderr[-4000:]
    assert "Warning" not in done.stderr
    for name, changes in script.RECIPES.items():
        (folder / "one").mkdir(exist_ok=True)
        finetune(make_job(folder / "one" / name, script.without_chance(changes, batch_size=8)))
    return folder


@pytest.fixture(scope="module")
def found(trained: Path) -> list[dict[str, Any]]:
    """What each of the two processes has found."""
    return [json.loads((trained / f"{rank}.json").read_text()) for rank in range(2)]


UNSTEADY = ("time", "data_time", "memory", "images_per_second")


def told(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of the log of a run, without the first and without what depends on time and place."""
    logs = list(run.glob("*.log.json"))
    assert len(logs) == 1, "one process writes"
    lines = [json.loads(line) for line in logs[0].read_text().splitlines()[1:]]
    return [{key: line[key] for key in line if key not in UNSTEADY} for line in lines]


@pytest.mark.parametrize("how", ["two", "divided"])
@pytest.mark.parametrize("recipe", script.RECIPES)
def test_two_processes__half_the_batch_each_give_what_one_gives(trained: Path, how: str, recipe: str) -> None:
    ours, one = trained / how / recipe, trained / "one" / recipe
    weights, expected = weights_of(ours / "epoch_1.pth"), weights_of(one / "epoch_1.pth")
    assert list(weights) == list(expected)
    for name in expected:
        assert type(weights[name]) is torch.Tensor
        torch.testing.assert_close(weights[name], expected[name], rtol=0, atol=1e-6)
    lines, expected_lines = told(ours), told(one)
    assert {line["mode"] for line in lines} == {"train", "val"}
    for line, wanted in zip(lines, expected_lines, strict=True):
        assert line == pytest.approx(wanted, abs=2e-4), "loss, norm and accuracy are those of all pictures"


@pytest.mark.parametrize("how", ["two", "divided"])
def test_two_processes__stop_early_together(trained: Path, how: str) -> None:
    record = json.loads((trained / how / "stopping early" / "run.json").read_text())
    assert record["is_finished"] and record["stopped_early"].startswith("Stopped early after iteration 6 of 9")


@pytest.mark.parametrize("how", ["two", "divided"])
def test_two_processes__go_on_bit_for_bit(trained: Path, how: str) -> None:
    whole, parts = (torch.load(trained / how / name / "epoch_2.pth", weights_only=True) for name in ("whole", "parts"))
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, parts["state_dict"][name])
    for name, kept in whole["optimizer"]["state"].items():
        assert all(torch.equal(kept[key], parts["optimizer"]["state"][name][key]) for key in kept)


def test_divided_network__computes_in_bfloat16_and_keeps_float32(trained: Path) -> None:
    narrow, wide = (trained / "divided" / name for name in ("narrow", "plain"))
    weights, expected = weights_of(narrow / "epoch_1.pth"), weights_of(wide / "epoch_1.pth")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    differences = [float((weights[name] - expected[name]).abs().max()) for name in expected]
    assert 0 < max(differences) < 0.01
    losses = [[line["loss"] for line in told(run) if "loss" in line] for run in (narrow, wide)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_two_processes__fail_together(found: list[dict[str, Any]], trained: Path) -> None:
    first, second = (part["errors"] for part in found)
    for name, kind, words in (
        ("unreadable picture", "ImageError", "row 7: broken.jpg"),
        (
            "infinite loss",
            "TrainingError",
            "epoch 2, batch 1). The last good checkpoint is epoch_1.pth",
        ),
        ("full disk", "CheckpointError", "No space left"),
    ):
        assert first[name] == second[name]
        assert first[name][0] == kind and words in first[name][1]
    assert first["somebody else's error"] == ["TrainingError", "ZeroDivisionError: division by zero"]
    assert second["somebody else's error"] == ["ZeroDivisionError", "division by zero"]
    assert not (trained / "errors" / "infinite" / "epoch_2.pth").exists(), "what one process saw is saved by none"


def test_two_processes__nobody_waits_for_a_dead_one(trained: Path) -> None:
    told = json.loads((trained / "death.json").read_text())
    assert told["error"] == ["TrainingError", "Another process of this run has ended; its message tells why."]
    assert told["seconds"] < 10


def test_divided_network__is_kept_in_parts_and_written_whole(found: list[dict[str, Any]], trained: Path) -> None:
    for part in (part["divided"] for part in found):
        assert part["divided blocks"] == 2, "one after the other is put together"
        assert part["numbers"] < 0.51 * part["all numbers"]
        assert part["average"][0] == "SettingsError" and "FSDP" in part["average"][1]
    opened = open_model(trained / "divided" / "plain" / "output")
    for name, weight in weights_of(trained / "divided" / "plain" / "epoch_1.pth").items():
        assert torch.equal(opened.network.state_dict()[name], weight)
    resumed = training_jobs.make_job(
        trained / "one" / "resumed",
        script.without_chance(
            script.TWICE | {"resume_from": str(trained / "divided" / "parts" / "epoch_1.pth")}, batch_size=8
        ),
    )
    finetune(resumed)
    weights, expected = (weights_of(trained / name / "epoch_2.pth") for name in ("one/resumed", "divided/whole"))
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, beside pictures in folders of their classes."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    content = training_jobs.configuration()
    (folder / "configuration.json").write_text(json.dumps(content))
    classifier = helpers.with_random_weights(build_classifier(read_mm_model(content["model"]["mm_model"])))
    write_weights(folder / "pytorch_model.pt", classifier.state_dict(), {"CLASSES": list(training_jobs.CLASSES)})
    for number, row in enumerate(training_jobs.crops(30)):
        pictures = folder.parent / "photos" / training_jobs.CLASSES[row["label"]]
        pictures.mkdir(parents=True, exist_ok=True)
        picture: Image.Image = row["image"]
        picture.save(pictures / f"{number}.jpg")
    return folder


SCRIPT = """
import os, sys
from modelscope.metainfo import Trainers
from modelscope.trainers import build_trainer
import training_jobs
from modelscope_beit.__main__ import main

model, photos, folder = sys.argv[1:]
options = dict(model=model, work_dir=folder + "/trainer", launcher="pytorch", device="cpu")
rows = dict(train_dataset=training_jobs.crops(22), eval_dataset=training_jobs.crops(9, seed=1))
trainer = build_trainer(name=Trainers.image_classification, default_args=options | rows)
trainer.train()
print("RESULT", os.environ["RANK"], trainer.evaluate(), flush=True)
long = ["--epochs=500", "--set=train.evaluation.interval=500", "--set=train.checkpoint_config.interval=500"]
status = main(["train", model, photos, "--out", folder + "/command", "--set=device=cpu", *long])
print("STATUS", os.environ["RANK"], status, flush=True)
"""


def test_torchrun__first_process_has_the_result_and_a_signal_saves_once(tmp_path: Path, model: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "modelscope_beit", "run", str(tmp_path / "script.py")]
    command += [str(model), str(model.parent / "photos"), str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.05)
        if any("Epoch [2]" in log.read_text() for log in tmp_path.glob("command/*.log")):
            break
    child.send_signal(signal.SIGTERM)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 1, "torchrun's own answer to a signal"
    results = dict(re.findall(r"RESULT (\d) (.*)", output))
    assert set(results) == {"0", "1"}, errors[-4000:]
    assert results["1"] == "None"
    assert (output + errors).count(" Evaluating ") == 1, "one process tells what is measured"
    assert re.fullmatch(r"\{'accuracy_top-1': [\d.]+\}", results["0"])
    assert (tmp_path / "trainer" / "report.json").exists()
    assert sorted(re.findall(r"STATUS (\d) (\d+)", output)) == [("0", "130"), ("1", "130")]
    saved = re.findall(r"Stopped by a signal after iteration \d+; saved as (\S+)\.\n", output + errors)
    assert len(saved) == 1, errors[-4000:]
    assert [path for path in tmp_path.glob("command/*_*.pth") if not path.is_symlink()] == [Path(saved[0])]
    assert weights_of(Path(saved[0]))
