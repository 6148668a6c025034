"""Every configuration in configs/ is read by the real readers, builds its network, and says where it comes from."""

import argparse
import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.training_transform import TrainingTransform
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.configuration import read_configuration, write_configuration
from modelscope_beit.settings.log_once import log_once
from modelscope_beit.settings.mixing import BatchCutMix, BatchMixup, OneOfMixings
from modelscope_beit.settings.rate_policies import Target, UnilmCosine, WarmUp
from modelscope_beit.settings.recipe import read_recipe

CONFIGS = sorted((helpers.ROOT / "configs").glob("*.json"))
# As published for BEiT v2 and ViT; for the embedded model, as its card says.
PARAMETERS = {
    "beitv2-base-p16-224_imagenet": 86_530_984,
    "beitv2-base-p16-224_ft21k_bs1024_cosine-30e_imagenet": 86_530_984,
    "beitv2-base-p16-224_pt1k_bs1024_cosine-100e_imagenet": 86_530_984,
    "beitv2-base-p16-224_pt1k_bs1024_linear-probe-100e_imagenet": 86_530_984,
    "beitv2-base-p16-384_ft21k_bs512_cosine-30e_imagenet": 86_744_104,
    "beitv2-large-p16-224_imagenet": 304_430_568,
    "beitv2-large-p16-224_ft21k_bs1024_cosine-20e_imagenet": 304_430_568,
    "beitv2-large-p16-224_pt1k_bs1024_cosine-50e_imagenet": 304_430_568,
    "embedded-digits_cpu": 807_050,
    "vit-base-p16-224_bs16_cosine-10e_mindspore": 86_567_656,
}
# Epochs, peak rate, warm-up epochs, layer decay, drop path, mixup and cutmix: unilm/beit2's
# get_started_for_image_classification.md, whose batches are 1024 pictures.
PUBLISHED = {
    "beitv2-base-p16-224_ft21k_bs1024_cosine-30e_imagenet": (30, 5e-5, 20, 0.75, 0.1, False),
    "beitv2-base-p16-224_pt1k_bs1024_cosine-100e_imagenet": (100, 5e-4, 20, 0.6, 0.2, True),
    "beitv2-large-p16-224_ft21k_bs1024_cosine-20e_imagenet": (20, 7e-5, 5, 0.8, 0.25, False),
    "beitv2-large-p16-224_pt1k_bs1024_cosine-50e_imagenet": (50, 2e-4, 5, 0.8, 0.2, True),
}

each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def content(path: Path) -> dict[str, Any]:
    read = json.loads(path.read_text())
    assert isinstance(read, dict)
    return read


def test_configs__are_there() -> None:
    assert {path.stem for path in CONFIGS} == PARAMETERS.keys()


@each_config
def test_config__builds_its_network(path: Path) -> None:
    settings = read_configuration(content(path), path.name)
    network = build_classifier(settings.model, device="meta")
    assert sum(weight.numel() for weight in network.parameters()) == PARAMETERS[path.stem]
    height, width = settings.model.backbone.image_size
    logits = network(torch.empty(2, 3, height, width, device="meta"))
    assert logits.shape == (2, settings.model.num_classes)


@each_config
def test_config__prepares_pictures_of_the_networks_size(
    path: Path, photographs: tuple[helpers.Image.Image, ...]
) -> None:
    settings, recipe = read_recipe(content(path), where=path.name)
    shape = (3, *settings.model.backbone.image_size)
    assert EvaluationTransform(settings.preprocessing)(photographs[0]).shape == shape
    assert TrainingTransform(recipe.training_steps)(photographs[0], np.random.default_rng(0)).shape == shape


@each_config
def test_config__holds_no_key_that_nobody_reads(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="modelscope_beit")
    log_once.cache_clear()
    read_recipe(content(path), where=path.name)
    assert not caplog.messages


@each_config
def test_config__survives_reading_and_writing(path: Path) -> None:
    settings, recipe = read_recipe(content(path), where=path.name)
    again, again_recipe = read_recipe(write_configuration(settings), where=path.name)
    assert (again.model, again.preprocessing, again.pipeline) == (
        settings.model,
        settings.preprocessing,
        settings.pipeline,
    )
    if "train" in content(path):
        assert again_recipe == recipe


@pytest.mark.parametrize("name", PUBLISHED)
def test_config__is_the_published_recipe(name: str) -> None:
    settings, recipe = read_recipe(content(helpers.ROOT / "configs" / f"{name}.json"), where=name)
    epochs, lr, warm_up, decay, drop_path, mixes = PUBLISHED[name]
    assert (recipe.epochs, recipe.optimizer.kind, recipe.optimizer.lr) == (epochs, "AdamW", lr)
    assert (recipe.optimizer.weight_decay, recipe.clip, recipe.ema) == (0.05, None, None)
    assert recipe.optimizer.layer_decay is not None
    assert (recipe.optimizer.layer_decay.rate, recipe.optimizer.layer_decay.rules) == (decay, "unilm")
    assert settings.model.backbone.drop_path == drop_path
    assert 8 * recipe.batch_size * recipe.accumulation == 1024
    assert recipe.schedule.warm_up == WarmUp("from_zero", warm_up, 0.0, True)
    # unilm's rates all end at 1e-6 times their layer's share.
    assert isinstance(recipe.schedule.policy, UnilmCosine)
    assert recipe.schedule.policy.target == Target(ratio=pytest.approx(1e-6 / lr, rel=1e-6))
    mixing = OneOfMixings((BatchMixup(0.8, 0.5), BatchCutMix(1.0, 0.5))) if mixes else None
    assert recipe.mixing == mixing


@each_config
def test_config__tells_its_source_command_and_result(path: Path) -> None:
    about = content(path)["_about"]
    assert about.keys() >= {"what", "command", "result"}
    assert about.keys() & {"paper", "source"}
    if "train" in content(path):
        assert about.keys() >= {"source", "weights", "hardware", "time"}
        assert f"--config configs/{path.name}" in about["command"]
    assert len(path.read_text().splitlines()) <= 120


@each_config
def test_config__gives_commands_that_the_command_line_understands(path: Path) -> None:
    for command in content(path)["_about"]["command"].split(" && "):
        # Before the program's name may stand torchrun's.
        verb, *rest = shlex.split(command.replace("-m modelscope_beit", "beit").split("beit ", 1)[1])
        parser = argparse.ArgumentParser(exit_on_error=False)
        importlib.import_module(f"modelscope_beit.commands.{verb}").add_arguments(parser)
        parser.parse_args(rest)
