"""One door to networks and transforms, whoever makes them."""

import sys
from pathlib import Path

import pytest
import torch

import helpers
import mmcls_models
from modelscope_beit.errors import CheckpointError, MissingPackageError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.training_transform import TrainingTransform
from modelscope_beit.model_folder.networks import (
    build_network,
    evaluation_transform,
    load_network,
    load_start_network,
    training_transform,
)
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.settings.configuration import read_configuration
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.foreign_steps import ForeignSteps, read_augmentation
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.problems import Problems

RESNET = MmclsModelSettings(mmcls_models.RESNET, 3, ("backbone.type is 'ResNet'",))
STEPS = ForeignSteps(({"type": "ToPIL"}, {"type": "ToNumpy"}, {"type": "ImageToTensor", "keys": ["img"]}), ("why",))


def test_native_network__with_weights_and_as_a_start(tmp_path: Path, tiny_settings: ModelSettings) -> None:
    weights = tmp_path / "weights.pth"
    expected = helpers.with_random_weights(build_classifier(tiny_settings)).state_dict()
    torch.save(expected, weights)
    assert isinstance(build_network(tiny_settings), BeitClassifier)
    loaded = load_network(tiny_settings, weights)
    start = load_start_network(tiny_settings.with_num_classes(9), weights)
    assert start.initialised == ("head.fc.weight", "head.fc.bias") and start.num_mapped == len(expected) - 2
    for key in expected:
        assert torch.equal(loaded.state_dict()[key], expected[key])
        if not key.startswith("head."):
            assert torch.equal(start.network.state_dict()[key], expected[key])


@pytest.mark.openmmlab
def test_network_of_mmcls__with_weights_and_as_a_start(tmp_path: Path) -> None:
    pytest.importorskip("mmcls.models", reason="mmcls builds the network")
    weights = tmp_path / "weights.pth"
    expected = mmcls_models.build(mmcls_models.RESNET).state_dict()
    torch.save(expected, weights)
    loaded, start = load_network(RESNET, weights), load_start_network(RESNET.with_num_classes(9), weights)
    for key, tensor in expected.items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    assert start.initialised == ("head.fc.weight", "head.fc.bias")
    assert tuple(start.network.state_dict()["head.fc.weight"].shape) == (9, 32)
    with pytest.raises(CheckpointError, match="wrongly shaped: head.fc.weight"):
        load_network(RESNET.with_num_classes(9), weights)


@pytest.mark.openmmlab
def test_start_of_a_network_that_ends_in_classes__its_last_layer_is_new(tmp_path: Path) -> None:
    pytest.importorskip("mmcls.models", reason="mmcls builds the network")
    lenet = {"backbone": {"type": "LeNet5", "num_classes": 10}, "head": {"type": "ClsHead"}}
    settings = MmclsModelSettings(lenet, 10, ())
    torch.save(build_network(settings).state_dict(), tmp_path / "weights.pth")
    start = load_start_network(settings.with_num_classes(3), tmp_path / "weights.pth")
    assert start.initialised == ("backbone.classifier.2.weight", "backbone.classifier.2.bias")
    images = torch.zeros(2, 1, 32, 32)
    assert start.network(images).shape == (2, 3)


def test_without_mmcls__parts_that_need_it_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mmcv", "mmcls"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "version_info", (3, 12))
    with pytest.raises(MissingPackageError, match=r"to build the network(.|\n)*- backbone.type is 'ResNet'"):
        build_network(RESNET)
    for transform in (evaluation_transform, training_transform):
        with pytest.raises(MissingPackageError, match=r"for steps of the preprocessor(.|\n)*- why"):
            transform(STEPS)


def test_transforms__native_ones_are_ours() -> None:
    settings = read_configuration(helpers.TINY_CONFIGURATION, "here")
    assert isinstance(evaluation_transform(settings.preprocessing), EvaluationTransform)
    steps = [{"type": "RandomResizedCrop", "size": 32}, *helpers.TINY_CONFIGURATION["preprocessor"]["val"][3:]]
    augmentation = read_augmentation(steps, "here", Problems())
    assert isinstance(training_transform(augmentation), TrainingTransform)


@pytest.mark.openmmlab
def test_transforms__others_are_those_of_mmcls() -> None:
    pytest.importorskip("mmcls.datasets", reason="mmcls makes the steps")
    picture = helpers.photographs()[0].crop((0, 0, 20, 10))
    assert evaluation_transform(STEPS)(picture).shape == training_transform(STEPS)(picture, None).shape == (3, 10, 20)
