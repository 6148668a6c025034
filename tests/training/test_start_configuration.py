"""The configuration that training starts with: nothing of the folder's own is lost, counts follow the data."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import helpers
from modelscope_beit.errors import ModelFolderError, SettingsError, UntrustedCodeError
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.start_configuration import (
    complete_configuration,
    counted_sections,
    with_class_count,
    with_recipe_of,
    with_training_sections,
)

MIXUP = {"type": "BatchMixup", "alpha": 0.8, "num_classes": 5}


def contains(whole: Any, part: Any) -> bool:
    """Tells whether every value of `part` stands at its place in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and contains(whole[name], part[name]) for name in part)
    return bool(whole == part)


def test_complete_configuration__keeps_the_folders_own_and_adds_what_scripts_ask_for(tiny_model_folder: Path) -> None:
    content: Any = complete_configuration(tiny_model_folder)
    assert contains(content, helpers.TINY_CONFIGURATION)
    assert content["train"]["lr_config"]["warmup_iters"] >= 0
    assert content["train"]["dataloader"]["batch_size_per_gpu"] > 0
    assert content["evaluation"]["dataloader"]["workers_per_gpu"] >= 0
    (normalize,) = [step for step in content["preprocessor"]["train"] if step["type"] == "Normalize"]
    assert normalize["mean"] == [123.675, 116.28, 103.53]
    read_recipe(content, where="the test's")


def test_complete_configuration__of_a_weight_file_alone_describes_its_network(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    (tiny_model_folder / "pytorch_model.pt").rename(file)
    content: Any = complete_configuration(file)
    settings, recipe = read_recipe(content, where="the test's")
    backbone = settings.model.backbone
    assert (backbone.image_size, backbone.patch_size, backbone.width, backbone.depth) == ((32, 32), 8, 32, 2)
    assert settings.model.num_classes == 5 and recipe.optimizer.kind == "AdamW"


def test_with_training_sections__changes_nothing_that_is_there() -> None:
    own = copy.deepcopy(helpers.TINY_CONFIGURATION)
    own["train"] = {"optimizer": {"type": "SGD", "lr": 0.1}, "dataloader": {"batch_size_per_gpu": 3}, "strange": 1}
    before = copy.deepcopy(own)
    content: Any = with_training_sections(own, "the test's")
    assert own == before
    assert content["train"]["optimizer"] == {"type": "SGD", "lr": 0.1}
    assert content["train"]["dataloader"] == {"batch_size_per_gpu": 3}
    assert content["train"]["strange"] == 1
    assert content["model"]["mm_model"]["head"]["loss"] == {"type": "CrossEntropyLoss"}


def test_with_training_sections__gives_a_head_without_loss_one_that_scripts_can_count(tmp_path: Path) -> None:
    own = copy.deepcopy(helpers.TINY_CONFIGURATION)
    del own["model"]["mm_model"]["head"]["loss"]
    loss = with_training_sections(own, "the test's")["model"]["mm_model"]["head"]["loss"]  # type: ignore[index]
    assert (loss["type"], loss["num_classes"]) == ("LabelSmoothLoss", 5)


def test_complete_configuration__says_what_is_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"configuration\.json must be a JSON file"):
        complete_configuration(tmp_path)
    (tmp_path / "configuration.json").write_text("[1]")
    with pytest.raises(SettingsError, match="must hold a JSON object, not list"):
        complete_configuration(tmp_path)


def test_complete_configuration__runs_config_py_only_with_trust(tmp_path: Path) -> None:
    own = copy.deepcopy(helpers.TINY_CONFIGURATION)
    model, steps = own["model"].pop("mm_model"), own.pop("preprocessor")["val"]
    (tmp_path / "configuration.json").write_text(json.dumps(own))
    (tmp_path / "config.py").write_text(f"model = {model!r}\ndata = {{'test': {{'pipeline': {steps!r}}}}}\n")
    with pytest.raises(UntrustedCodeError):
        complete_configuration(tmp_path)
    content: Any = complete_configuration(tmp_path, trust_remote_code=True)
    assert content["model"]["mm_model"]["backbone"]["type"] == "BEiTv2"
    assert content["preprocessor"]["val"] == steps


def test_complete_configuration__config_py_alone_with_its_recipe(tmp_path: Path) -> None:
    model, steps = helpers.TINY_CONFIGURATION["model"]["mm_model"], helpers.TINY_CONFIGURATION["preprocessor"]["val"]
    recipe = "optimizer = dict(type='SGD', lr=0.1)\nrunner = dict(type='EpochBasedRunner', max_epochs=7)\n"
    data = {"samples_per_gpu": 3, "workers_per_gpu": 0, "test": {"pipeline": steps}}
    (tmp_path / "config.py").write_text(f"model = {model!r}\ndata = {data!r}\n{recipe}")
    content = complete_configuration(tmp_path, trust_remote_code=True)
    _, read = read_recipe(content, where="the test's")
    assert (read.epochs, read.batch_size, read.optimizer.kind, read.optimizer.lr) == (7, 3, "SGD", 0.1)


def test_complete_configuration__configuration_json_goes_before_the_recipe_of_config_py(tmp_path: Path) -> None:
    model, steps = helpers.TINY_CONFIGURATION["model"]["mm_model"], helpers.TINY_CONFIGURATION["preprocessor"]["val"]
    own = {"train": {"max_epochs": 2}, "preprocessor": {"type": "p", "val": []}, "dataset": {"classes": None}}
    (tmp_path / "configuration.json").write_text(json.dumps(own))
    recipe = "optimizer = dict(type='SGD', lr=0.1)\nrunner = dict(type='EpochBasedRunner', max_epochs=7)\n"
    (tmp_path / "config.py").write_text(f"model = {model!r}\ndata = dict(test=dict(pipeline={steps!r}))\n{recipe}")
    content: Any = complete_configuration(tmp_path, trust_remote_code=True)
    assert (content["train"]["max_epochs"], content["train"]["optimizer"]) == (2, {"type": "SGD", "lr": 0.1})
    assert content["preprocessor"]["val"] == steps


def test_with_training_sections__a_length_under_runner_counts() -> None:
    own = copy.deepcopy(helpers.TINY_CONFIGURATION)
    own["train"] = {"runner": {"type": "EpochBasedRunner", "max_epochs": 100}}
    _, recipe = read_recipe(with_training_sections(own, "the test's"), where="the test's")
    assert recipe.epochs == 100


def test_with_recipe_of__takes_keys_as_a_whole_and_no_class_count(tmp_path: Path) -> None:
    own = with_training_sections(helpers.TINY_CONFIGURATION, "the test's")
    recipe = {
        "_about": "ImageNet",
        "model": {
            "mm_model": {
                "backbone": {"drop_path_rate": 0.2},
                "head": {"num_classes": 1000, "loss": {"type": "LabelSmoothLoss", "num_classes": 1000}},
                "train_cfg": {"augments": [{**MIXUP, "num_classes": 1000}]},
            }
        },
        "train": {"optimizer": {"type": "SGD", "lr": 0.1}},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    merged: Any = with_recipe_of(own, tmp_path / "recipe.json")
    assert merged["train"]["optimizer"] == {"type": "SGD", "lr": 0.1}, "AdamW's betas must not remain"
    assert merged["train"]["lr_config"] == own["train"]["lr_config"]  # type: ignore[index]
    backbone = merged["model"]["mm_model"]["backbone"]
    assert (backbone["drop_path_rate"], backbone["img_size"]) == (0.2, 32)
    assert {section["num_classes"] for section in counted_sections(merged).values()} == {5}
    assert "_about" not in merged


def test_with_recipe_of__leaves_the_network_its_size(tmp_path: Path) -> None:
    own = with_training_sections(helpers.TINY_CONFIGURATION, "the test's")
    base = {"type": "VisionTransformer", "arch": "base", "patch_size": 16, "img_size": 48}
    mm_model = {"type": "Other", "backbone": base, "neck": {"type": "X"}, "head": {"in_channels": 768, "topk": 5}}
    (tmp_path / "recipe.json").write_text(json.dumps({"model": {"mm_model": mm_model}}))
    merged: Any = with_recipe_of(own, tmp_path / "recipe.json")
    expected: Any = copy.deepcopy(own["model"])
    expected["mm_model"]["backbone"]["img_size"] = 48
    expected["mm_model"]["head"]["topk"] = 5
    assert merged["model"] == expected


@pytest.mark.parametrize("augments", [[MIXUP, {**MIXUP, "type": "BatchCutMix"}], MIXUP])
def test_with_class_count__head_loss_and_mixing_follow_the_data(augments: Any) -> None:
    own = with_training_sections(helpers.TINY_CONFIGURATION, "the test's")
    own["model"]["mm_model"]["train_cfg"] = {"augments": augments}  # type: ignore[index]
    own["model"]["mm_model"]["head"]["loss"] = {"type": "LabelSmoothLoss", "num_classes": 5}  # type: ignore[index]
    content = with_class_count(own, own, ["a", "b"])
    assert {section["num_classes"] for section in counted_sections(content).values()} == {2}
    assert {section["num_classes"] for section in counted_sections(own).values()} == {5}, "the copy was changed only"


def test_with_class_count__a_wrong_number_that_was_set_is_told_with_the_right_one() -> None:
    own = with_training_sections(helpers.TINY_CONFIGURATION, "the test's")
    changed = copy.deepcopy(own)
    changed["model"]["mm_model"]["head"]["num_classes"] = 10  # type: ignore[index]
    with pytest.raises(SettingsError) as error:
        with_class_count(changed, own, ["cat", "dog"])
    assert "model.mm_model.head.num_classes is 10, but the data have 2 classes (cat; dog)" in str(error.value)
    assert "Set it to 2" in str(error.value)
    changed["model"]["mm_model"]["head"]["num_classes"] = 2  # type: ignore[index]
    assert counted_sections(with_class_count(changed, own, ["cat", "dog"]))["model.mm_model.head"]["num_classes"] == 2


def test_with_training_sections__leaves_out_a_calibration() -> None:
    section = {
        "temperature": 2.0,
        "unknown_below": 1.0,
        "false_alarm_rate": 0.05,
        "pictures": 9,
        "data": "d",
        "weights": "sha256:0",
    }
    whole = with_training_sections({**helpers.TINY_CONFIGURATION, "confidence": section}, "it")
    assert "confidence" not in whole


def test_start_configurations__forget_where_others_push_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    push = {"checkpoint": {"best": {"push_to_hub": True, "hub_repo_id": "thief/x", "hub_token": "secret"}}}
    content = copy.deepcopy(helpers.TINY_CONFIGURATION) | {"train": push}
    own = with_training_sections(content, "the folder's")
    assert "secret" not in str(own)
    assert "thief" not in str(own)
    assert "the folder's asks to push to a hub, in train.checkpoint.best" in caplog.text
    assert "secret" not in caplog.text
    (tmp_path / "recipe.json").write_text(json.dumps({"train": push}))
    assert "secret" not in str(with_recipe_of(own, tmp_path / "recipe.json"))
