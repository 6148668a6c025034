"""Every configuration in configs/ is read by the real reader, builds its network, and says where it comes from."""

import json
from pathlib import Path

import pytest
import torch

import helpers
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.configuration import read_configuration, write_configuration

CONFIGS = sorted((helpers.ROOT / "configs").glob("*.json"))
PARAMETERS = {"beitv2-base-p16-224_imagenet": 86_530_984, "beitv2-large-p16-224_imagenet": 304_430_568}


def test_configs__are_there() -> None:
    assert {path.stem for path in CONFIGS} == PARAMETERS.keys()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config__builds_its_network(path: Path) -> None:
    settings = read_configuration(json.loads(path.read_text()), path.name)
    network = build_classifier(settings.model, device="meta")
    assert sum(weight.numel() for weight in network.parameters()) == PARAMETERS[path.stem]
    height, width = settings.model.backbone.image_size
    logits = network(torch.empty(2, 3, height, width, device="meta"))
    assert logits.shape == (2, settings.model.num_classes)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config__prepares_pictures_of_the_networks_size(
    path: Path, photographs: tuple[helpers.Image.Image, ...]
) -> None:
    settings = read_configuration(json.loads(path.read_text()), path.name)
    pixels = EvaluationTransform(settings.preprocessing)(photographs[0])
    assert tuple(pixels.shape[1:]) == settings.model.backbone.image_size


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config__survives_reading_and_writing(path: Path) -> None:
    settings = read_configuration(json.loads(path.read_text()), path.name)
    again = read_configuration(write_configuration(settings), path.name)
    assert (again.model, again.preprocessing, again.pipeline) == (
        settings.model,
        settings.preprocessing,
        settings.pipeline,
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config__tells_its_paper_command_and_result(path: Path) -> None:
    about = json.loads(path.read_text())["_about"]
    assert about.keys() >= {"what", "paper", "command", "result"}
    assert len(path.read_text().splitlines()) <= 120
