"""From a folder, settings and data to a job: class names and counts, start weights, what is told."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
import training_jobs
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.records import Records
from modelscope_beit.errors import CheckpointError, MissingPackageError, SettingsError
from modelscope_beit.training.preparation import (
    Prepared,
    Start,
    TrainingData,
    class_names_of,
    findings_text,
    make_job,
    prepare,
)
from modelscope_beit.training.start_configuration import complete_configuration


@pytest.fixture
def start(tiny_model_folder: Path) -> Start:
    """The tiny folder of five classes with a recipe; nothing is set by a user."""
    content = training_jobs.configuration()
    content["model"]["mm_model"]["head"]["num_classes"] = 5
    (tiny_model_folder / "configuration.json").write_text(json.dumps(content))
    return started(tiny_model_folder)


def started(folder: Path, **changes: Any) -> Start:
    original = complete_configuration(folder)
    configuration = complete_configuration(folder)
    configuration["train"] |= changes  # type: ignore[operator]
    return Start(folder, folder / "pytorch_model.pt", original, configuration, "the test's configuration")


def pictures(names: tuple[str, ...] | None, number: int = 12, seed: int = 0) -> Records:
    """Returns crops whose labels are 0, 1, 2, 0 ..., of these class names."""
    records = records_of(training_jobs.crops(number, seed=seed), class_names=names)
    assert isinstance(records, Records)
    return records


def data(names: tuple[str, ...] | None = training_jobs.CLASSES) -> TrainingData:
    return TrainingData(pictures(names), pictures(names, 6, seed=1))


def with_count(start: Start, number: int) -> Start:
    start.configuration["model"]["mm_model"]["head"]["num_classes"] = number  # type: ignore[index]
    return start


def test_prepare__a_new_class_count_replaces_the_head(start: Start) -> None:
    prepared = prepare(start, data)
    assert prepared.settings.model.num_classes == 3
    assert prepared.settings.class_names == training_jobs.CLASSES
    assert prepared.configuration["model"]["mm_model"]["head"]["num_classes"] == 3  # type: ignore[index]
    assert prepared.start_weights == start.weights
    assert start.configuration["model"]["mm_model"]["head"]["num_classes"] == 5  # type: ignore[index]


def test_prepare__a_count_that_contradicts_the_data_is_refused(start: Start) -> None:
    with pytest.raises(SettingsError, match="num_classes is 4, but the data have 3 classes"):
        prepare(with_count(start, 4), data)
    assert prepare(with_count(start, 3), data).settings.model.num_classes == 3


def test_prepare__unnamed_classes_are_as_many_as_the_user_says(start: Start) -> None:
    assert prepare(start, lambda: data(None)).settings.class_names == ("0", "1", "2")
    prepared = prepare(with_count(start, 7), lambda: data(None))
    assert prepared.settings.class_names == tuple("0123456")
    assert prepared.data.train.class_names == prepared.data.validation.class_names  # type: ignore[union-attr]


def test_prepare__the_classes_of_the_weights_keep_their_order(start: Start) -> None:
    turned = tuple(reversed(helpers.TINY_CLASSES))
    prepared = prepare(start, lambda: data(turned))
    assert prepared.settings.class_names == helpers.TINY_CLASSES
    train = prepared.data.train
    assert isinstance(train, Records)
    assert np.array_equal(train.labels(), 4 - pictures(turned).labels())
    assert not any("names" in note for note in prepared.notes)


def test_prepare__says_that_a_head_of_other_classes_is_kept(start: Start) -> None:
    prepared = prepare(start, lambda: data(("a", "b", "c", "d", "e")))
    assert any("5 classes each, of different names" in note for note in prepared.notes)


def test_prepare__says_that_nothing_is_validated(start: Start) -> None:
    prepared = prepare(start, lambda: TrainingData(pictures(training_jobs.CLASSES), None, ("one part",)))
    assert prepared.notes[0] == "one part"
    assert "nothing is validated" in prepared.notes[-1]


def test_prepare__early_stopping_needs_validation_data(start: Start) -> None:
    impatient = started(start.folder, early_stopping={"patience": 2})
    with pytest.raises(SettingsError, match=r"early_stopping watches the validation, but .* without validation data"):
        prepare(impatient, lambda: TrainingData(pictures(training_jobs.CLASSES), None))


def test_prepare__a_rule_makes_the_recipe_of_the_data(start: Start) -> None:
    prepared = prepare(dataclasses.replace(start, rule="auto"), data)
    assert prepared.ruled is not None and prepared.ruled.rule == "auto"
    assert (prepared.recipe.epochs, prepared.recipe.batch_size) == (500, 12), "500 steps of all 12 pictures"
    assert prepared.configuration["model"]["mm_model"]["head"]["num_classes"] == 3  # type: ignore[index]
    assert any("train.max_epochs" in note for note in prepared.notes)
    changed = dataclasses.replace(started(start.folder, max_epochs=7), rule="auto")
    assert prepare(changed, data).recipe.epochs == 7
    named = dataclasses.replace(start, rule="auto", named=("train.max_epochs",))
    assert prepare(named, data).recipe.epochs == 3


def test_prepare__a_zero_head_is_not_said_to_be_kept(start: Start) -> None:
    prepared = prepare(dataclasses.replace(start, rule="bit"), lambda: data(("a", "b", "c", "d", "e")))
    assert not any("head's weights are kept" in note for note in prepared.notes)


def test_prepare__reads_settings_before_it_opens_data(start: Start) -> None:
    def explode() -> TrainingData:
        raise AssertionError("data were opened")

    start.configuration["train"]["optimzer"] = {"lr": 1}  # type: ignore[index]
    with pytest.raises(SettingsError, match="optimzer"):
        prepare(start, explode)


def test_prepare__the_model_folder_does_not_hear_of_a_zero_head(start: Start) -> None:
    prepared = prepare(started(start.folder, head_init="zero"), data)
    assert prepared.recipe.zero_head
    assert "head_init" not in prepared.settings.extra["train"]  # type: ignore[operator]


def test_prepare__takes_the_weights_that_load_from_names(start: Start, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save(torch.load(start.weights, weights_only=True), other)
    assert prepare(started(start.folder, load_from=str(other)), data).start_weights == other
    assert prepare(started(start.folder, load_from=str(start.folder)), data).start_weights == start.weights
    with pytest.raises(CheckpointError, match="no such file"):
        prepare(started(start.folder, load_from=str(tmp_path / "missing.pth")), data)


def test_prepare__the_model_folder_gets_no_paths_of_this_run(start: Start) -> None:
    start.configuration.update(work_dir="somewhere/else", device="cpu")
    start.configuration["train"] |= {"load_from": str(start.weights), "resume_from": None}  # type: ignore[operator]
    prepared = prepare(start, data)
    assert str(start.folder) not in json.dumps(prepared.settings.extra)
    assert "somewhere" not in json.dumps(prepared.settings.extra)
    assert prepared.settings.extra["train"]["max_epochs"] == 3  # type: ignore[index]
    assert prepared.configuration["work_dir"] == "somewhere/else", "the run's own configuration keeps them"


def test_class_names_of__weights_before_the_file_beside_them(tiny_model_folder: Path, tmp_path: Path) -> None:
    weights = tiny_model_folder / "pytorch_model.pt"
    (tiny_model_folder / "classname.txt").write_text("1\n2\n3\n4\n5\n")
    assert class_names_of(tiny_model_folder, weights) == helpers.TINY_CLASSES
    state = torch.load(weights, weights_only=True)["state_dict"]
    torch.save({"state_dict": state}, weights)
    assert class_names_of(tiny_model_folder, weights) == ("1", "2", "3", "4", "5")
    torch.save({"state_dict": state}, tmp_path / "elsewhere.pth")
    assert class_names_of(tiny_model_folder, tmp_path / "elsewhere.pth") is None


def test_make_job__tells_the_findings_first(start: Start, tmp_path: Path) -> None:
    prepared: Prepared = prepare(start, data)
    job = make_job(
        prepared,
        work_dir=tmp_path / "run",
        timestamp="20260101_000000",
        source="tiny",
        data="crops",
        command="beit train tiny crops",
        reopening={"data": "crops"},
    )
    assert job.notes[0] == findings_text(prepared.findings)
    lines = job.notes[0].splitlines()
    assert lines[0] == "The data:"
    assert any(line.split()[:3] == ["Training", "12", "pictures,"] for line in lines)
    assert job.reopening == {"data": "crops"}
    assert job.settings.class_names == training_jobs.CLASSES


@pytest.mark.parametrize(("value", "seed"), [(3, 3), (None, 0), ("three", 0)])
def test_start__seed_of_the_division(start: Start, value: Any, seed: int) -> None:
    start.configuration["seed"] = value
    assert start.seed == seed


@pytest.mark.parametrize(
    ("path", "value", "culprit"),
    [
        (("preprocessor", "train"), [{"type": "MysteriousCrop"}], "MysteriousCrop"),
        (("model", "mm_model", "head", "loss"), {"type": "MysteriousLoss"}, "MysteriousLoss"),
    ],
)
def test_prepare__parts_that_mmcls_does_not_know_either_are_told_before_data_are_opened(
    start: Start, path: tuple[str, ...], value: Any, culprit: str
) -> None:
    section: Any = start.configuration
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value

    def never() -> TrainingData:
        raise AssertionError("opening data may take long")

    with pytest.raises((SettingsError, MissingPackageError), match=culprit):
        prepare(start, never)
