"""Models that are not ours reach the stock pipeline with the same keywords, and get the stock answers."""

import copy
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelscope.models.base import TorchModel
from modelscope.models.builder import MODELS
from modelscope.pipelines import pipeline
from modelscope.pipelines.builder import get_default_pipeline_info
from modelscope.utils.import_utils import LazyImportModule

import helpers
from modelscope_beit import names
from modelscope_beit.errors import MissingPackageError
from modelscope_beit.plugin.pipeline import BeitImageClassificationPipeline
from modelscope_beit.plugin.routing import is_ours

needs_mmcls = pytest.mark.skipif(find_spec("mmcls") is None, reason="the stock pipeline collates with mmcv")
SWIN = {
    "type": "SwinTransformer",
    "arch": {"embed_dims": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "img_size": 64,
    "pad_small_map": True,
}


class Dummy(TorchModel):
    """Answers as EasyRobust's model does: probabilities of the mean colours."""

    CLASSES = ("bluish", "greenish", "reddish")

    def __init__(self, model_dir: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(model_dir, *args, **kwargs)
        self.kwargs = kwargs
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs: dict[str, Any]) -> np.ndarray:
        return torch.softmax(self.scale * inputs["img"].mean(dim=(2, 3)), dim=1).cpu().numpy()


class DummyWithReturnLoss(Dummy):
    """As BNext's model does: the inputs are keywords of the network."""

    def forward(self, inputs: dict[str, Any], return_loss: bool = False) -> np.ndarray:
        assert inputs["return_loss"] is False
        return super().forward(inputs)


class OfaForAllTasks(Dummy):
    """The stock pipeline knows it by the name of its class, and passes its answer on."""

    def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"scores": [1.0], "labels": [f"{type(inputs['samples']).__name__}"]}


KINDS = {"EasyRobustModel": Dummy, "bnext": DummyWithReturnLoss, "content-check": Dummy}


def stock_class() -> Any:
    from modelscope.pipelines.cv.image_classification_pipeline import GeneralImageClassificationPipeline

    return GeneralImageClassificationPipeline


def folder_for(kind: str, folder: Path, *, network: dict[str, Any] | None = None) -> str:
    configuration = copy.deepcopy(helpers.TINY_CONFIGURATION)
    configuration["model"]["type"] = kind
    if network is not None:
        configuration["model"]["mm_model"]["backbone"] = network
        configuration["model"]["mm_model"]["neck"] = {"type": "GlobalAveragePooling"}
        configuration["model"]["mm_model"]["head"]["in_channels"] = 128
    folder.mkdir(exist_ok=True)
    (folder / "configuration.json").write_text(json.dumps(configuration))
    return str(folder)


@pytest.fixture(params=list(KINDS))
def foreign_folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder whose model is of another class, which a dummy stands for."""
    kind = request.param
    monkeypatch.setitem(MODELS.modules.setdefault(names.TASK, {}), kind, KINDS[kind])
    index = LazyImportModule.get_ast_index()["index"]
    # The host imports the module of a name before it looks the name up.
    monkeypatch.setitem(index, ("MODELS", names.TASK, kind), {"module": "modelscope", "imports": [], "filepath": ""})
    return folder_for(kind, tmp_path / "foreign")


@needs_mmcls
@pytest.mark.parametrize("name", [names.PIPELINES[0], "easyrobust-classification"])
def test_model_of_another_class__is_served_by_the_stock_pipeline(
    foreign_folder: str, ten_images: list[Path], name: str
) -> None:
    built = pipeline("image-classification", model=foreign_folder, device="cpu", pipeline_name=name)
    stock = stock_class()(model=foreign_folder, device="cpu")
    assert type(built) is type(stock)
    assert type(built.preprocessor) is type(stock.preprocessor)
    assert type(built.preprocessor).__module__.startswith("modelscope.")
    pictures = [str(path) for path in ten_images]
    assert built(pictures) == stock(pictures)


@needs_mmcls
def test_instance_of_another_class__is_served_by_the_stock_pipeline(tmp_path: Path, ten_images: list[Path]) -> None:
    folder = folder_for("EasyRobustModel", tmp_path / "foreign")
    model = Dummy(folder)
    built = pipeline("image-classification", model=model, device="cpu")
    assert type(built) is stock_class()
    assert built.model is model
    assert set(built(str(ten_images[0]))["labels"]) == set(Dummy.CLASSES)


def test_ofa__keeps_its_own_branch_of_the_stock_pipeline(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="the stock classes need OpenCV, which comes with mmcv")
    folder = folder_for("ofa", tmp_path / "foreign")

    def preprocessor(data: Any) -> dict[str, Any]:
        return {"samples": [data]}

    built = pipeline("image-classification", model=OfaForAllTasks(folder), preprocessor=preprocessor, device="cpu")
    assert type(built) is stock_class()
    assert built("anything") == {"scores": [1.0], "labels": ["list"]}


def test_keywords__reach_the_stock_class_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="the stock classes need OpenCV, which comes with mmcv")
    got: dict[str, Any] = {}
    monkeypatch.setattr(stock_class(), "__init__", lambda self, **kwargs: got.update(kwargs))
    keywords = {"model": folder_for("bnext", tmp_path / "foreign"), "device": "gpu:3", "auto_collate": False, "x": 1}
    BeitImageClassificationPipeline._instantiate(**keywords)
    assert got == keywords
    got.clear()
    BeitImageClassificationPipeline._instantiate(model=["a", "b"], device="cpu")
    assert got == {"model": ["a", "b"], "device": "cpu"}


@needs_mmcls
def test_stock_classes__can_be_built_by_hand_over_our_folder(
    tiny_model_folder: Path, tiny_pipeline: BeitImageClassificationPipeline, ten_images: list[Path]
) -> None:
    """A script that names the stock pipeline gets it, with our model and preprocessor behind it."""
    stock = stock_class()(model=str(tiny_model_folder), device="cpu")
    for path in ten_images:
        result, expected = stock(str(path)), tiny_pipeline(str(path))
        assert result["labels"] == expected["labels"]
        assert np.allclose(result["scores"], expected["scores"], atol=1e-6)


def test_network_that_only_mmcls_knows__is_named_without_mmcls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mmcv", "mmcls"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "version_info", (3, 12))
    folder = folder_for(names.MODEL, tmp_path / "swin", network=SWIN)
    torch.save({"state_dict": {"head.fc.bias": torch.zeros(5)}}, f"{folder}/pytorch_model.pt")
    (tmp_path / "swin" / "classname.txt").write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(MissingPackageError, match=r"modelscope-beit\[openmmlab\](.|\n)*SwinTransformer"):
        pipeline("image-classification", model=folder, device="cpu")


DEIT = {"type": "DistilledVisionTransformer", "arch": "deit-tiny"}
DEIT_HEAD = {"type": "DeiTClsHead", "num_classes": 5, "in_channels": 192, "hidden_dim": 192}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"model": {"type": "ClassificationModel", "mm_model": {"backbone": DEIT, "head": DEIT_HEAD}}}, True),
        ({"model": {"type": "EasyRobustModel"}}, False),
        ({"model": {"model_type": "ClassificationModel"}}, True),
        ({"model": {"type": "ClassificationModel", "mm_model": {"backbone": SWIN, "head": {}}}}, True),
        ({"preprocessor": {"val": [{"type": "Albu"}]}}, True),
        ({"preprocessor": {"val": [{"type": "Resize", "sise": 3}]}}, True),
        ({"preprocessor": None}, True),
        ({"model": "a string"}, True),
    ],
    ids=str,
)
def test_is_ours__reads_the_configuration(tmp_path: Path, changes: dict[str, Any], expected: bool) -> None:
    (tmp_path / "configuration.json").write_text(json.dumps(helpers.TINY_CONFIGURATION | changes))
    assert is_ours(tmp_path) is expected


@pytest.mark.parametrize("content", [None, "", "[]", "not JSON"])
def test_is_ours__takes_an_unreadable_folder(tmp_path: Path, content: str | None) -> None:
    """Because our message is the one that says what is wrong."""
    if content is not None:
        (tmp_path / "configuration.json").write_text(content)
    assert is_ours(tmp_path)


def test_default_model__stays_the_hosts() -> None:
    name, model_id = get_default_pipeline_info(names.TASK)
    assert name == "vit-base_image-classification_Dailylife-labels"
    assert model_id == "damo/cv_vit-base_image-classification_Dailylife-labels"
