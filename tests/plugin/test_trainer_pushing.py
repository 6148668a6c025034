"""push_to_hub of a training script: what is pushed where, and where the token is not."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelscope.trainers import build_trainer

import helpers
import hub_server
import training_jobs
from hub_server import PRIVATE, PUBLIC, TOKEN, Fault, Hub
from modelscope_beit.errors import PublishingError, SettingsError
from modelscope_beit.plugin.trainer_pushing import STAGED, check_pushes, push_run
from modelscope_beit.publishing import staging
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.staged_folder import Check, StagedFolder, digests_below, files_below
from modelscope_beit.settings.hub_push import HubPush

GIVEN = "ms-11111111-2222-3333-4444-555555555555"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_server.running_hub() as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        yield hub


@pytest.fixture
def copied_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's output is staged as it is, in no time; tests/whole has it with cards and new interpreters."""

    def stage(source: Path, destination: Destination, folder: Path) -> StagedFolder:
        shutil.copytree(source / "output", folder, dirs_exist_ok=True)
        checks = (Check("all", "well", True),)
        return StagedFolder(folder, destination, files_below(folder), digests_below(folder), checks)

    monkeypatch.setattr(staging, "stage", stage)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "output").mkdir(parents=True)
    (tmp_path / "run" / "output" / "pytorch_model.pt").write_bytes(b"weights")
    return tmp_path / "run"


@pytest.fixture
def model_folder(tiny_model_folder: Path) -> Path:
    content = training_jobs.configuration({"max_epochs": 1})
    content["model"]["mm_model"]["head"]["num_classes"] = len(helpers.TINY_CLASSES)
    (tiny_model_folder / "configuration.json").write_text(json.dumps(content))
    return tiny_model_folder


def rows(folder: Path, number: int, seed: int) -> list[dict[str, Any]]:
    folder.mkdir()
    made = []
    for place, row in enumerate(training_jobs.crops(number, seed=seed)):
        row["image"].save(folder / f"{place}.png")
        made.append({"image:FILE": str(folder / f"{place}.png"), "category": row["label"]})
    return made


def build(model: Path, tmp_path: Path, **arguments: Any) -> Any:
    keywords = {
        "model": str(model),
        "work_dir": str(tmp_path / "work_dir"),
        "device": "cpu",
        "train_dataset": rows(tmp_path / "train", 12, 0),
        "eval_dataset": rows(tmp_path / "val", 6, 1),
    }
    return build_trainer(name="image-classification", default_args=keywords | arguments)


def wanted(**more: Any) -> Any:
    """Returns a cfg_modify_fn in the words of ModelScope's CheckpointHook."""

    def cfg_modify_fn(cfg: Any) -> Any:
        cfg.train.checkpoint = {"period": {"push_to_hub": True, "hub_repo_id": "me/pets", **more}}
        return cfg

    return cfg_modify_fn


def test_train__pushes_by_the_configuration_and_the_token_is_nowhere(
    hub: Hub, copied_only: None, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["finetune.py", "--hub_token", TOKEN])
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", GIVEN)
    caplog.set_level(logging.DEBUG)
    trainer = build(model_folder, tmp_path, cfg_modify_fn=wanted(hub_token=TOKEN))
    assert trainer.train() is None
    repository = hub.repositories["me/pets"]
    assert repository.visibility == PRIVATE
    output = Path(trainer.work_dir) / "output"
    assert repository.branches["master"] == {path: (output / path).read_bytes() for path in files_below(output)}
    assert trainer.evaluate(), "and the script goes on"
    said = caplog.text + "".join(capfd.readouterr()) + str(trainer.meta) + str(trainer.cfg)
    for secret in (TOKEN, GIVEN):
        assert secret not in said
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert secret.encode() not in path.read_bytes(), path
    assert "--hub_token '***'" in json.loads((Path(trainer.work_dir) / "run.json").read_text())["command"]


def test_train__pushes_by_the_trainers_own_arguments(
    hub: Hub, copied_only: None, model_folder: Path, tmp_path: Path
) -> None:
    trainer = build(
        model_folder,
        tmp_path,
        no_validate=True,
        push_to_hub=True,
        hub_repo_id="me/own",
        private_hub=False,
        hub_revision="dev",
    )
    trainer.train()
    assert hub.repositories["me/own"].visibility == PUBLIC
    assert hub.repositories["me/own"].branches["dev"]


def test_train__pushes_nowhere_unless_asked(hub: Hub, model_folder: Path, tmp_path: Path) -> None:
    content = json.loads((model_folder / "configuration.json").read_text())
    content["train"]["checkpoint"] = {"best": {"push_to_hub": True, "hub_repo_id": "thief/x", "hub_token": GIVEN}}
    (model_folder / "configuration.json").write_text(json.dumps(content))
    trainer = build(model_folder, tmp_path, no_validate=True)
    trainer.train()
    assert hub.requests == [], "a model's folder does not say where somebody else's weights go"
    for path in (path for path in Path(trainer.work_dir).rglob("*") if path.is_file()):
        assert GIVEN.encode() not in path.read_bytes(), path


def test_train__a_configuration_file_that_is_given_counts(
    hub: Hub, copied_only: None, model_folder: Path, tmp_path: Path
) -> None:
    content = json.loads((model_folder / "configuration.json").read_text())
    content["train"]["hooks"] = [{"type": "CheckpointHook", "push_to_hub": True, "hub_repo_id": "me/mine"}]
    (tmp_path / "mine.json").write_text(json.dumps(content))
    build(model_folder, tmp_path, cfg_file=str(tmp_path / "mine.json"), no_validate=True).train()
    assert list(hub.repositories) == ["me/mine"]


def test_build__tells_wrong_settings_before_anything_slow(
    hub: Hub, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="train.checkpoint.period.hub_repo_id is 'pets'"):
        build(model_folder, tmp_path, cfg_modify_fn=wanted(hub_repo_id="pets"))
    (tmp_path / "train").rename(tmp_path / "1")
    (tmp_path / "val").rename(tmp_path / "2")
    with pytest.raises(SettingsError) as caught:
        build(model_folder, tmp_path, hub_tokn=TOKEN)
    assert "did you mean hub_token?" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_check_pushes__without_a_token_stops_before_training(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    check_pushes([HubPush("me/pets")])
    monkeypatch.delenv("MODELSCOPE_API_TOKEN")
    check_pushes([HubPush("me/pets", token=GIVEN)])
    with pytest.raises(PublishingError, match="no token for modelscope:me/pets"):
        check_pushes([HubPush("me/pets")])
    assert hub.requests == []


@pytest.mark.parametrize(
    ("push", "command"),
    [
        (HubPush("me/pets"), "beit publish {run} modelscope:me/pets"),
        (
            HubPush("me/pets", False, "dev", TOKEN),
            "MODELSCOPE_API_TOKEN=... beit publish {run} modelscope:me/pets --revision dev --no-private",
        ),
    ],
)
def test_push_run__a_failure_tells_the_command_and_loses_nothing(
    hub: Hub, copied_only: None, run: Path, caplog: pytest.LogCaptureFixture, push: HubPush, command: str
) -> None:
    hub.faults.append(Fault("GET /openapi", 403, times=99))
    push_run(run, [push], logging.getLogger("script"))
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "may not write there" in record.message
    assert record.message.endswith(f"To try again: {command.format(run=run)}")
    assert TOKEN not in record.message
    assert (run / "output" / "pytorch_model.pt").read_bytes() == b"weights"
    assert (run / STAGED / "me" / "pets" / "pytorch_model.pt").exists()


def test_push_run__to_several_places_one_failing(
    hub: Hub, copied_only: None, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hub.faults.append(Fault("/me/one", 401, times=99))
    push_run(run, [HubPush("me/one"), HubPush("me/two")], logging.getLogger("script"))
    assert list(hub.repositories) == ["me/two"]
    assert "Pushed to" in caplog.text
    assert (run / STAGED / "me" / "one").exists(), "for a look at what could not be sent"
    assert not (run / STAGED / "me" / "two").exists()
