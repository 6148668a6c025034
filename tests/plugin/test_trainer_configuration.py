"""The configuration as scripts see and change it, beside what the stock trainer does with it."""

import copy
from pathlib import Path
from typing import Any

import pytest
from modelscope.utils.config import Config, ConfigDict

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.plugin.trainer_arguments import TrainerArguments
from modelscope_beit.plugin.trainer_configuration import (
    make_config,
    modified_config,
    plain_configuration,
    set_max_epochs,
)
from modelscope_beit.training.start_configuration import with_training_sections


@pytest.fixture
def content() -> dict[str, Any]:
    return with_training_sections(helpers.TINY_CONFIGURATION, "the test's")


def config_of(tiny_model_folder: Path, content: dict[str, Any], **arguments: Any) -> Config:
    return make_config(content, tiny_model_folder / "configuration.json", TrainerArguments(**arguments), seed=7)


def test_make_config__puts_arguments_where_scripts_look(tiny_model_folder: Path, content: dict[str, Any]) -> None:
    given = {"work_dir": "w", "resume_from": "r", "load_from": "l", "device": "cpu", "gpu_ids": [2, 3], "fp16": True}
    cfg = config_of(tiny_model_folder, content, **given, no_validate=True, deterministic=True)
    assert (cfg.work_dir, cfg.train.resume_from, cfg.train.load_from) == ("w", "r", "l")
    assert (cfg.device, cfg.gpu_ids, cfg.fp16, cfg.no_validate, cfg.seed) == ("cpu", [2], True, True, 7)
    assert cfg.deterministic is True


def test_make_config__falls_back_to_the_file(tiny_model_folder: Path, content: dict[str, Any]) -> None:
    assert config_of(tiny_model_folder, content).work_dir == "./work_dir"
    content["train"] |= {"work_dir": "of/the/file", "resume_from": "file.pth", "load_from": "/somebody/else"}
    content["fp16"] = {"loss_scale": 8.0}
    cfg = config_of(tiny_model_folder, content)
    assert (cfg.work_dir, cfg.train.resume_from, cfg.train.load_from) == ("of/the/file", "file.pth", None)
    assert (cfg.device, cfg.fp16.loss_scale) == ("auto", 8.0)
    assert config_of(tiny_model_folder, content, fp16=False).fp16 is None


@pytest.mark.parametrize(
    ("own", "given", "expected"), [("cuda", None, "auto"), ("cpu", None, "cpu"), ("cpu", "gpu", "gpu")]
)
def test_make_config__device(
    tiny_model_folder: Path, content: dict[str, Any], own: str, given: str | None, expected: str
) -> None:
    assert config_of(tiny_model_folder, content | {"device": own}, device=given).device == expected


def test_make_config__takes_what_the_model_cards_assign(tiny_model_folder: Path, content: dict[str, Any]) -> None:
    content["model"]["mm_model"]["train_cfg"] = {"augments": [{"type": "BatchMixup", "alpha": 0.8, "num_classes": 5}]}
    cfg = config_of(tiny_model_folder, content)
    cfg.model.mm_model.head.num_classes = 2
    cfg.model.mm_model.head.loss.num_classes = 2
    cfg.model.mm_model.train_cfg.augments[0].num_classes = 2
    cfg.train.optimizer.lr = 1e-4
    cfg.train.lr_config.warmup_iters = 1
    cfg.train.evaluation.metric_options = {"topk": (1,)}
    cfg.evaluation.metric_options = {"topk": (1, 5)}
    cfg.train.checkpoint_config.create_symlink = False
    found = plain_configuration(cfg)
    mm_model: Any = found["model"]["mm_model"]  # type: ignore[index]
    assert (mm_model["head"]["num_classes"], mm_model["train_cfg"]["augments"][0]["num_classes"]) == (2, 2)
    assert found["evaluation"]["metric_options"] == {"topk": [1, 5]}  # type: ignore[index]
    assert not any(isinstance(value, ConfigDict) for value in (found, *found.values()))


def change_in_place(cfg: Any) -> None:
    cfg.train.max_epochs = 2


def change_and_return(cfg: Any) -> Any:
    cfg.train.max_epochs = 2
    return cfg


def return_another(cfg: Any) -> Any:
    other = copy.deepcopy(cfg)
    other.train.max_epochs = 2
    return other


def return_a_mapping(cfg: Any) -> Any:
    return {**cfg.to_dict(), "train": {**cfg.to_dict()["train"], "max_epochs": 2}}


@pytest.mark.parametrize("function", [change_in_place, change_and_return, return_another, return_a_mapping])
def test_modified_config__counts_however_it_is_returned(
    tiny_model_folder: Path, content: dict[str, Any], function: Any
) -> None:
    cfg = modified_config(config_of(tiny_model_folder, content), function)
    assert cfg.train.max_epochs == 2
    assert cfg.work_dir == "./work_dir"


def test_modified_config__keeps_arguments_that_a_new_configuration_lacks(
    tiny_model_folder: Path, content: dict[str, Any]
) -> None:
    cfg = config_of(tiny_model_folder, content, work_dir="w", device="cpu", no_validate=True)
    returned = modified_config(cfg, lambda _: Config(copy.deepcopy(content)))
    assert (returned.work_dir, returned.device, returned.no_validate, returned.seed) == ("w", "cpu", True, 7)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train.work_dir": "a"}, "a"),
        ({"work_dir": "b"}, "b"),
        ({"train.work_dir": "a", "work_dir": "b"}, "b"),
        ({}, "w"),
    ],
)
def test_modified_config__a_new_work_dir_counts(
    tiny_model_folder: Path, content: dict[str, Any], changes: dict[str, str], expected: str
) -> None:
    content["train"]["work_dir"] = "of the file"
    cfg = config_of(tiny_model_folder, content, work_dir="w")
    assert modified_config(cfg, lambda found: found.merge_from_dict(changes)).work_dir == expected


def test_modified_config__refuses_what_is_no_configuration(tiny_model_folder: Path, content: dict[str, Any]) -> None:
    cfg = config_of(tiny_model_folder, content)
    assert modified_config(cfg, None) is cfg
    with pytest.raises(SettingsError, match="cfg_modify_fn returned 3"):
        modified_config(cfg, lambda _: 3)
    with pytest.raises(SettingsError, match="--use_model_config true"):
        modified_config(cfg, lambda _: Config({"train": {"max_epochs": 1}}))


def test_set_max_epochs__runner_and_train_agree(tiny_model_folder: Path, content: dict[str, Any]) -> None:
    content["train"] |= {"max_epochs": 9, "runner": {"type": "EpochBasedRunner", "max_epochs": 100}}
    cfg = config_of(tiny_model_folder, content)
    assert (set_max_epochs(cfg, None), cfg.train.runner.max_epochs) == (9, 9)
    assert (set_max_epochs(cfg, 3), cfg.train.max_epochs, cfg.train.runner.max_epochs) == (3, 3, 3)
    del content["train"]["max_epochs"]
    assert set_max_epochs(config_of(tiny_model_folder, content), None) == 100


def test_plain_configuration__drops_class_counts_of_mixing_that_is_not_there(
    tiny_model_folder: Path, content: dict[str, Any]
) -> None:
    counts = {f"model.mm_model.train_cfg.augments.{place}.num_classes": 3 for place in (0, 1)}
    cfg = config_of(tiny_model_folder, content)
    cfg.merge_from_dict(counts)
    assert plain_configuration(cfg)["model"]["mm_model"]["train_cfg"] == {"augments": []}  # type: ignore[index]
    mixup = {"type": "BatchMixup", "alpha": 0.8, "num_classes": 5, "prob": 0.5}
    content["model"]["mm_model"]["train_cfg"] = {"augments": [mixup, mixup | {"type": "BatchCutMix"}]}
    cfg = config_of(tiny_model_folder, content)
    cfg.merge_from_dict(counts)
    augments = plain_configuration(cfg)["model"]["mm_model"]["train_cfg"]["augments"]  # type: ignore[index]
    assert [augment["num_classes"] for augment in augments] == [3, 3]
