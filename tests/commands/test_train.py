"""`beit train` as a person runs it: what it writes, prints and returns, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import helpers
import training_jobs
from modelscope_beit.__main__ import main
from modelscope_beit.commands import training_view
from modelscope_beit.training.job import TrainingJob


@pytest.fixture
def model(tiny_model_folder: Path) -> Path:
    """The tiny folder of five classes, with a recipe of two epochs."""
    content = training_jobs.configuration({"max_epochs": 2})
    content["model"]["mm_model"]["head"]["num_classes"] = 5
    (tiny_model_folder / "configuration.json").write_text(json.dumps(content))
    return tiny_model_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty pictures in a folder for each of three classes."""
    for index, row in enumerate(training_jobs.crops(30)):
        file = tmp_path / "photos" / training_jobs.CLASSES[row["label"]] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        row["image"].save(file)
    return tmp_path / "photos"


def beit(*arguments: object, cwd: Path = helpers.ROOT) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(helpers.ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "modelscope_beit", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def job_of(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> TrainingJob:
    """Returns the job that a command line makes, without training."""
    jobs: list[TrainingJob] = []

    def keep(job: TrainingJob) -> Any:
        jobs.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(training_view, "finetune", keep)
    assert main(["train", *map(str, arguments)]) == 130
    return jobs[0]


def test_train__trains_reports_and_says_how_to_use_it(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", str(model), str(photos), "--out", str(run), "--epochs", "1", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert "Trained for 1 epochs, 6 iterations." in output
    assert f"beit predict {run / 'output'}" in output.replace("\n", " ")
    report = json.loads((run / "report.json").read_text())
    assert f"accuracy_top-1 {report['metrics']['accuracy_top-1']:.2f}" in output
    assert {"epoch_1.pth", "latest.pth", "output", "report.html", "run.json", "split.jsonl"} <= {*os.listdir(run)}
    assert main(["predict", str(run / "output"), *map(str, photos.glob("dark/*")), "--json"]) == 0
    labels = [json.loads(line)["labels"] for line in capsys.readouterr().out.splitlines()]
    assert {*labels[0]} == {*training_jobs.CLASSES}


def test_train__options_and_settings_reach_the_job(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--epochs", 7, "--batch-size", 3, "--lr", "2e-4", "--seed", 5, "--precision", "bf16", "--no-validate"]
    settings = ["--set", "epochs=9", "--set", "train.optimizer.weight_decay=0.3", "--set", "drop_path=0.4"]
    job = job_of(monkeypatch, model, photos, "--out", tmp_path / "run", *options, *settings)
    recipe = job.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.seed, recipe.precision) == (9, 3, 5, "bf16")
    assert (recipe.optimizer.lr, recipe.validates) == (2e-4, False)
    assert job.configuration["train"]["optimizer"]["weight_decay"] == 0.3  # type: ignore[index]
    assert job.settings.model.backbone.drop_path == 0.4
    assert job.reopening == {"data": str(photos), "seed": 5, "pictures": [24, 6]}
    assert (job.source, job.data) == (str(model), str(photos))


def test_train__names_the_run_after_the_data(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = job_of(monkeypatch, model, "photos")
    assert job.work_dir.parent == Path("runs")
    assert job.work_dir.name == f"photos_{job.timestamp}"
    assert job.reopening["data"] == str(photos), "a relative path means nothing elsewhere"


def test_train__several_processes_need_a_name(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", str(model), str(photos)]) == 2
    assert "give --out" in capsys.readouterr().err


def test_train__takes_the_recipe_of_a_file(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"train": {"optimizer": {"type": "SGD", "lr": 0.1}, "max_epochs": 3}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    job = job_of(monkeypatch, model, photos, "--out", tmp_path / "run", "--config", tmp_path / "recipe.json")
    assert (job.recipe.optimizer.kind, job.recipe.epochs) == ("SGD", 3)


@pytest.mark.parametrize("rule", ["auto", "bit"])
def test_train__a_rule_chooses_the_recipe_and_writes_it(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    run, settings = tmp_path / "run", ["--set", "lr=0.5", "--set", "patience=4", "--lr", "0.25"]
    job = job_of(monkeypatch, model, photos, "--out", run, "--recipe", rule, *settings)
    recipe = job.recipe
    assert recipe.optimizer.kind == {"auto": "AdamW", "bit": "SGD"}[rule]
    assert (recipe.optimizer.lr, recipe.early_stopping.patience) == (0.5, 4)  # type: ignore[union-attr]
    assert recipe.batch_size == 24, "all pictures a step, not the folder's batches of 4"
    (table,) = [note for note in job.notes if f'by the rule "{rule}"' in note]
    assert "train.optimizer.lr" in table and "as you set it; the rule says" in table
    again = job_of(monkeypatch, model, photos, "--out", tmp_path / "again", "--config", run / "recipe.json")
    assert again.recipe == recipe


def test_train__a_recipe_is_taken_or_made(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    options = ["--recipe", "auto", "--config", str(tmp_path / "recipe.json")]
    assert main(["train", str(model), str(photos), *options]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_train__dry_run_writes_nothing(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    options = ["--out", str(run), "--recipe", "auto", "--epochs", "2", "--dry-run"]
    assert main(["train", str(model), str(photos), *options]) == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    told = capsys.readouterr()
    assert "train.optimizer.paramwise_cfg" in told.err and "layer_decay_rate 0.75" in told.err
    output = told.out
    for part in ("The recipe", "AdamW lr 0.0024", "2, 1 an epoch", "Training time", "at the peak"):
        assert part in output


def test_train__refuses_before_it_writes(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", str(model), str(photos), "--out", str(run), "--set", "train.optimzer.lr=1"]) == 2
    assert "did you mean train.optimizer.lr?" in capsys.readouterr().err
    assert main(["train", str(model), str(tmp_path / "nothing"), "--out", str(run)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not run.exists()
    run.mkdir()
    (run / "run.json").write_text("{}")
    assert main(["train", str(model), str(photos), "--out", str(run)]) == 2
    assert f"beit resume {run}" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT between processes")
def test_train__ctrl_c_saves_and_resume_goes_on(model: Path, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with beit(
        "train", model, photos, "--out", run, "--epochs", 400, "--set", "train.checkpoint_config.interval=9"
    ) as process:
        deadline = time.monotonic() + 60
        while not (lines := list(run.glob("*.log.json"))) or "loss" not in lines[0].read_text():
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"To go on: beit resume {run}" in errors
    (newest,) = json.loads((run / "run.json").read_text())["checkpoints"][-1:]
    assert (run / newest["file"]).exists()
    epochs = newest["epoch"] + 1
    assert main(["resume", str(run), "--set", f"epochs={epochs}"]) == 0
    assert (run / f"epoch_{epochs}.pth").exists()
