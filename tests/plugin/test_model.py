"""The model behind `model.type: ClassificationModel`, as scripts and the host use it."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelscope.models import Model
from modelscope.pipelines import pipeline
from modelscope.utils.file_utils import func_receive_dict_inputs

import helpers
from modelscope_beit.errors import BeitError, ImageError, ModelFolderError, UntrustedCodeError
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.plugin.model import ClassificationModel


def test_model__has_what_scripts_read(tiny_model_folder: Path, tiny_classifier: BeitClassifier) -> None:
    model = Model.from_pretrained(str(tiny_model_folder))
    assert type(model) is ClassificationModel
    assert model.model_dir == str(tiny_model_folder)
    assert tuple(model.CLASSES) == helpers.TINY_CLASSES
    assert model.cfg.model.mm_model.backbone.type == "BEiTv2"
    assert model.cfg.framework == "pytorch"
    assert model.config_type == "ms_config"
    assert model.pipeline.type == "common-image-classification"
    weights = {f"cls_model.{name}": weight for name, weight in tiny_classifier.state_dict().items()}
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


def test_model__accepts_what_the_host_adds(tiny_model_folder: Path) -> None:
    model = ClassificationModel(
        str(tiny_model_folder), device="cuda:1", trust_remote_code=True, mm_model={}, type="x", some_option=3
    )
    assert model.trust_remote_code is True
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}


def test_modes__can_be_chained(tiny_model_folder: Path) -> None:
    model = ClassificationModel(str(tiny_model_folder))
    assert not model.cls_model.training
    assert model.train() is model
    assert model.cls_model.backbone.train().training
    assert model.eval() is model
    assert not model.cls_model.backbone.eval().training


def test_forward__is_called_with_one_mapping_by_the_host(tiny_model_folder: Path) -> None:
    model = ClassificationModel(str(tiny_model_folder))
    assert func_receive_dict_inputs(model.forward)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.cls_model(images).softmax(dim=1)
    answers = model({"img": images, "img_metas": object(), "return_loss": False})
    assert [answer.dtype for answer in answers] == [np.float32] * 2
    assert np.allclose(np.stack(answers), expected, atol=1e-6)


@pytest.mark.parametrize(("inputs", "came"), [({"image": 1}, "image"), (torch.zeros(1, 3, 32, 32), "Tensor")])
def test_forward__names_what_came_instead_of_pictures(tiny_model_folder: Path, inputs: Any, came: str) -> None:
    with pytest.raises(ImageError, match=came):
        ClassificationModel(str(tiny_model_folder)).forward(inputs)


def test_model__never_has_random_weights(tiny_model_folder: Path) -> None:
    (tiny_model_folder / "pytorch_model.pt").unlink()
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.pt"):
        pipeline("image-classification", model=str(tiny_model_folder), device="cpu")


def test_model__wants_class_names_before_the_first_picture(tiny_model_folder: Path) -> None:
    weights = torch.load(tiny_model_folder / "pytorch_model.pt")
    torch.save({"state_dict": weights["state_dict"], "meta": {}}, tiny_model_folder / "pytorch_model.pt")
    with pytest.raises(ModelFolderError, match=r"classname\.txt"):
        pipeline("image-classification", model=str(tiny_model_folder), device="cpu")


class RunsCode:
    """Pickled, it writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.target)!r}, 'w')",)


def test_weights__that_run_code_are_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    weights = torch.load(tiny_model_folder / "pytorch_model.pt")
    trap = tmp_path / "was_run"
    torch.save(weights | {"optimizer": RunsCode(trap)}, tiny_model_folder / "pytorch_model.pt")
    with pytest.raises(BeitError):
        pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    assert not trap.exists()
    assert pickle.dumps(RunsCode(trap))


@pytest.fixture
def folder_with_code(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A folder of the first generation: everything but the type is in a config.py, which leaves a trace."""
    file = tiny_model_folder / "configuration.json"
    configuration = json.loads(file.read_text())
    mm_model = configuration["model"].pop("mm_model")
    steps = configuration.pop("preprocessor")["val"]
    steps[1]["size"] = tuple(steps[1]["size"])
    file.write_text(json.dumps(configuration))
    (tiny_model_folder / "config.py").write_text(
        f"open({str(tmp_path / 'was_run')!r}, 'w')\nmodel = {mm_model!r}\ndata = dict(test=dict(pipeline={steps!r}))\n"
    )
    return tiny_model_folder


def test_python_config__is_refused_without_trust(folder_with_code: Path, tmp_path: Path) -> None:
    with pytest.raises(UntrustedCodeError, match="trust_remote_code=True"):
        pipeline("image-classification", model=str(folder_with_code), device="cpu")
    assert not (tmp_path / "was_run").exists()


def test_python_config__is_read_with_trust(
    folder_with_code: Path, tmp_path: Path, tiny_classifier: BeitClassifier, ten_images: list[Path]
) -> None:
    built = pipeline("image-classification", model=str(folder_with_code), device="cpu", trust_remote_code=True)
    assert (tmp_path / "was_run").exists()
    assert built.trust_remote_code is built.model.trust_remote_code is True
    assert built.model.config_type == built.preprocessor.config_type == "mmcv_config"
    prepared = built.preprocess(ten_images[0])
    with torch.no_grad():
        expected = tiny_classifier(prepared["img"]).softmax(dim=1)
    assert np.allclose(built.forward(prepared), expected, atol=1e-6)
