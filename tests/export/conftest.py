"""Small models and what was exported of them, once for all tests. Tests that change a folder get a copy."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import helpers
from modelscope_beit.export.golden import make_golden
from modelscope_beit.export.targets import ExportRequest
from modelscope_beit.export.writing import export_model
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.classifier import Classifier, build_classifier
from modelscope_beit.settings.confidence import Confidence
from modelscope_beit.settings.model import BackboneSettings, ModelSettings

Exported = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> OpenedModel:
    """One block on 32 x 32 pixels, five classes; pictures are resized by their short side and cut."""
    folder = tmp_path_factory.mktemp("tiny")
    settings = ModelSettings(
        BackboneSettings(image_size=(32, 32), patch_size=8, width=32, depth=1, num_heads=2, mlp_hidden=64),
        num_classes=5,
    )
    network = helpers.with_random_weights(build_classifier(settings))
    weights = {"state_dict": network.state_dict(), "meta": {"CLASSES": list(helpers.TINY_CLASSES)}}
    torch.save(weights, folder / "pytorch_model.pt")
    configuration = deepcopy(helpers.TINY_CONFIGURATION)
    configuration["model"]["mm_model"]["backbone"]["arch"]["num_layers"] = 1
    (folder / "configuration.json").write_text(json.dumps(configuration))
    return open_model(folder)


class Convolutions(Classifier):
    """Stands for networks of timm and mmcls, which take any size."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 5, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).mean(dim=(2, 3))


@pytest.fixture(scope="session")
def convolutions(tiny_model: OpenedModel) -> OpenedModel:
    """A convolutional network in place of the tiny model's."""
    torch.manual_seed(0)
    return replace(tiny_model, network=Convolutions(tiny_model.settings.model).eval())


@pytest.fixture(scope="session")
def embedded() -> OpenedModel:
    return open_model("embedded")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_model: OpenedModel, embedded: OpenedModel) -> Exported:
    """Returns the folder of ("tiny" or "embedded", target, precision), which no test may change."""

    @cache
    def export(model: str, to: str, precision: str = "fp32") -> Path:
        folder = tmp_path_factory.mktemp("exported") / f"{model}_{to}_{precision}"
        export_model(embedded if model == "embedded" else tiny_model, folder, ExportRequest(to, precision))
        return folder

    return export


@pytest.fixture
def tiny_onnx(exported: Exported, tmp_path: Path) -> Path:
    """A copy of the tiny model in ONNX, to be changed."""
    return Path(shutil.copytree(exported("tiny", "onnx"), tmp_path / "tiny_onnx"))


@pytest.fixture
def tiny_torchscript(exported: Exported, tmp_path: Path) -> Path:
    """A copy of the tiny model in TorchScript, which needs trust, to be changed."""
    return Path(shutil.copytree(exported("tiny", "torchscript"), tmp_path / "tiny_torchscript"))


@pytest.fixture(scope="session")
def calibrated_onnx(tmp_path_factory: pytest.TempPathFactory, tiny_model: OpenedModel) -> Path:
    """The tiny model, calibrated so that some of the golden pictures are unknown, in ONNX; not to be changed."""
    golden = make_golden(tiny_model.network, tiny_model.transform, dynamic_size=False)
    familiarities = np.sort(np.log(np.exp(golden.logits.astype(np.float64)).sum(axis=1)))
    place = int(np.diff(familiarities[5:-5]).argmax()) + 5
    threshold = float(familiarities[place : place + 2].mean())
    confidence = Confidence(0.4, threshold, 0.05, 100, "photos", "sha256:0")
    folder = tmp_path_factory.mktemp("calibrated") / "onnx"
    export_model(replace(tiny_model, confidence=confidence), folder, ExportRequest("onnx"))
    return folder
