"""Every configuration of a tokenizer is read, builds its network, and says where it comes from."""

import argparse
import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from modelscope_beit.pretraining.vq_kd import Tokenizer
from modelscope_beit.settings.pretraining_configuration import PUBLISHED_RUNS, TOKENIZER, read_pretraining
from modelscope_beit.settings.teacher import read_teacher
from modelscope_beit.settings.tokenizer import CodebookSettings, CropSettings

CONFIGS = sorted((helpers.ROOT / "configs" / "pretraining").glob("vqkd-*.json"))
TOKENIZERS = {
    "vqkd-base-p16-224_3x768x12_clip_bs512_cosine-100e_imagenet": 108_829_216,
    "vqkd-base-p16-224_1x768x12_dino_bs512_cosine-100e_imagenet": 94_851_872,
}

each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def content(path: Path) -> dict[str, Any]:
    read = json.loads(path.read_text())
    assert isinstance(read, dict)
    return read


@each_config
def test_config__holds_no_key_that_nobody_reads(path: Path) -> None:
    found = read_pretraining(content(path), path.name)
    assert found.stage == content(path)["stage"] and found.pictures.data == ""


@each_config
def test_config__tells_its_source_command_and_result(path: Path) -> None:
    about = content(path)["_about"]
    assert about.keys() >= {"what", "paper", "source", "command", "data", "hardware", "time", "result"}
    assert f"--config configs/pretraining/{path.name}" in about["command"]
    for command in about["command"].split(" && "):
        verb, *rest = shlex.split(command.replace("-m modelscope_beit", "beit").split("beit ", 1)[1])
        parser = argparse.ArgumentParser(exit_on_error=False)
        importlib.import_module(f"modelscope_beit.commands.{verb}").add_arguments(parser)
        parser.parse_args(rest)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_config__of_a_tokenizer_is_the_published_recipe(name: str) -> None:
    configuration = content(helpers.ROOT / "configs" / "pretraining" / f"{name}.json")
    found = read_pretraining(configuration, name, num_processes=8)
    # unilm/beit2 TOKENIZER.md: 64 pictures on each of 8 GPUs, 5e-5 for every 128.
    run, published = found.run, PUBLISHED_RUNS[TOKENIZER]
    assert (run.epochs, run.batch_size, run.warm_up_epochs) == (100, 64, 10)
    assert (run.lr, run.min_lr, run.weight_decay) == pytest.approx((2e-4, 1e-5, 1e-4))
    assert (run.betas, run.eps, run.clip) == ((0.9, 0.99), 1e-8, None)
    assert (run.epochs, run.lr, run.betas) == (published.epochs, published.lr, published.betas)
    assert found.teaching is not None and found.tokenizer is not None
    assert found.teaching.crops == CropSettings() and found.tokenizer.codebook == CodebookSettings()
    assert read_teacher(found.teaching.teacher).kind == "transformers"
    with torch.device("meta"):
        tokenizer = Tokenizer(found.tokenizer)
    assert sum(weight.numel() for weight in tokenizer.parameters()) == TOKENIZERS[name]
