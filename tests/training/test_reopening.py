"""A run folder is opened again: same settings, data and division, and a word where that cannot be."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import training_jobs
from modelscope_beit.data.records import Records
from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.names import DIVISION_FILE
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.preparation import Start, make_job, prepare
from modelscope_beit.training.reopening import (
    RECIPE_FILE,
    keep_division,
    keep_recipe,
    open_training_data,
    refuse_to_replace,
    reopening_facts,
    resume_job,
)
from modelscope_beit.training.start_configuration import complete_configuration


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures in a folder for each of three classes, all in one part."""
    for index, row in enumerate(training_jobs.crops(30)):
        file = tmp_path / "photos" / training_jobs.CLASSES[row["label"]] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        row["image"].save(file)
    return tmp_path / "photos"


def job_on(photos: Path, model_folder: Path, run: Path, **train: Any) -> TrainingJob:
    """Returns what `beit train` would train on the photos, and leaves in the run folder what it leaves there."""
    (model_folder / "configuration.json").write_text(json.dumps(_five_classes(train)))
    content = complete_configuration(model_folder)
    start = Start(model_folder, model_folder / "pytorch_model.pt", content, content, "the test's configuration")
    prepared = prepare(start, lambda: open_training_data(str(photos), seed=3))
    keep_division(prepared.data, run)
    return make_job(
        prepared,
        work_dir=run,
        timestamp="20260101_000000",
        source="tiny",
        data="photos",
        command="beit train tiny photos",
        reopening=reopening_facts(prepared, data=str(photos), seed=3),
    )


def _five_classes(train: dict[str, Any]) -> dict[str, Any]:
    content = training_jobs.configuration(train)
    content["model"]["mm_model"]["head"]["num_classes"] = 5
    return content


def names(records: Any) -> list[str]:
    return [Path(records[row].image).name for row in range(len(records))]


def test_resume_job__takes_the_same_pictures_whatever_has_come_since(
    photos: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    job = job_on(photos, tiny_model_folder, tmp_path / "run", max_epochs=1)
    finetune(job)
    shutil.copy(next(photos.glob("china/*.png")), photos / "china" / "later.png")
    shutil.rmtree(tiny_model_folder)
    resumed = resume_job(tmp_path / "run", ["epochs=2"], timestamp="20260102_000000")
    assert isinstance(resumed.train, Records)
    assert sorted(names(resumed.train)) == sorted(names(job.train))
    assert sorted(names(resumed.validation)) == sorted(names(job.validation))
    assert (resumed.command, resumed.source, resumed.data) == (job.command, job.source, job.data)
    assert resumed.recipe.epochs == 2
    assert resumed.settings.class_names == job.settings.class_names
    assert finetune(resumed).epochs == 2


def test_resume_job__bit_for_bit(photos: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    every_three = {"checkpoint_config": {"interval": 3, "by_epoch": False}, "max_epochs": 2}
    finetune(job_on(photos, tiny_model_folder, tmp_path / "whole", **every_three))
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    record = json.loads((tmp_path / "part" / "run.json").read_text())
    kept = [entry for entry in record["checkpoints"] if entry["iterations"] == 3]
    assert len(record["checkpoints"]) > 2 and kept
    record |= {"checkpoints": kept, "best": {}, "is_finished": False}
    (tmp_path / "part" / "run.json").write_text(json.dumps(record))
    last = max(tmp_path.glob("whole/iter_*.pth"), key=lambda path: int(path.stem[5:])).name
    (tmp_path / "part" / last).unlink()
    finetune(resume_job(tmp_path / "part", [], timestamp="20260102_000000"))
    expected, found = (training_jobs.weights_of(tmp_path / folder / last) for folder in ("whole", "part"))
    assert all(value.equal(found[key]) for key, value in expected.items())


def test_resume_job__says_why_it_cannot(photos: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ModelFolderError, match="no run folder"):
        resume_job(run, [], timestamp="x")
    finetune(job_on(photos, tiny_model_folder, run, max_epochs=1))
    with pytest.raises(SettingsError, match=r"has come to its end.*--set epochs=NUMBER"):
        resume_job(run, [], timestamp="x")
    with pytest.raises(SettingsError, match="train.max_epoch is 3"):
        resume_job(run, ["train.max_epoch=3"], timestamp="x")
    (run / DIVISION_FILE).unlink()
    for file in sorted((photos / "dark").iterdir())[:4]:
        file.unlink()
    with pytest.raises(SettingsError) as error:
        resume_job(run, ["epochs=2"], timestamp="x")
    assert "began with 24 pictures for training and 6 for validation" in str(error.value)
    assert "now there are 21 pictures for training and 5 for validation" in str(error.value)


def test_resume_job__of_a_run_that_stopped_early(photos: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # The second evaluation cannot be better by more than all there is.
    impatient = {"max_epochs": 4, "early_stopping": {"patience": 1, "min_delta": 100.0}}
    assert finetune(job_on(photos, tiny_model_folder, run, **impatient)).epochs == 2
    for settings in ([], ["epochs=9"]):
        with pytest.raises(SettingsError, match=r"^Stopped early after .* --set train.early_stopping.patience=NUMBER"):
            resume_job(run, settings, timestamp="x")
    result = finetune(resume_job(run, ["patience=2"], timestamp="20260102_000000"))
    assert (result.epochs, bool(result.stopped_early)) == (3, True)
    result = finetune(resume_job(run, ["train.early_stopping=null"], timestamp="20260103_000000"))
    assert (result.epochs, result.stopped_early) == (4, "")


def test_resume_job__leaves_runs_of_scripts_to_the_script(tmp_path: Path) -> None:
    finetune(training_jobs.make_job(tmp_path / "run", training_jobs.configuration({"max_epochs": 1})))
    with pytest.raises(SettingsError, match="resume_from="):
        resume_job(tmp_path / "run", ["epochs=2"], timestamp="x")


def test_refuse_to_replace(tmp_path: Path) -> None:
    refuse_to_replace(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SettingsError, match="beit resume"):
        refuse_to_replace(tmp_path)


def test_keep_division__only_of_what_chance_has_divided(photos: Path, tmp_path: Path) -> None:
    divided = open_training_data(str(photos), seed=0)
    keep_division(divided, tmp_path / "run")
    again = open_training_data(str(tmp_path / "run" / DIVISION_FILE), seed=99, class_names=training_jobs.CLASSES)
    assert sorted(names(again.train)) == sorted(names(divided.train))
    keep_division(again, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_open_training_data__wants_something_to_train_on(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    photos.rename(tmp_path / "data" / "val")
    with pytest.raises(SettingsError, match="validation only"):
        open_training_data(str(tmp_path / "data"), seed=0)


def test_keep_recipe__only_what_a_rule_has_made(photos: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    content = complete_configuration(tiny_model_folder)
    start = Start(tiny_model_folder, tiny_model_folder / "pytorch_model.pt", content, content, "x")
    keep_recipe(prepare(start, lambda: open_training_data(str(photos), seed=3)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    by_rule = dataclasses.replace(start, rule="bit")
    keep_recipe(prepare(by_rule, lambda: open_training_data(str(photos), seed=3)), tmp_path / "run")
    assert json.loads((tmp_path / "run" / RECIPE_FILE).read_text())["train"]["optimizer"]["type"] == "SGD"
