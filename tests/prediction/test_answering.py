"""The embedded network, its real pictures, and every way to answer; the plain classifier is the oracle."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.prediction import answering as module
from modelscope_beit.prediction.answering import answering_model, open_answering, shipped_pictures
from modelscope_beit.prediction.form_choice import Choice, Measured
from modelscope_beit.prediction.stream import predict_stream
from modelscope_beit.settings.inference import TORCH, InferenceSettings


@pytest.fixture(scope="module")
def model() -> OpenedModel:
    return open_model("embedded")


@pytest.fixture(scope="module")
def images(model: OpenedModel) -> torch.Tensor:
    return torch.stack([model.transform(Image.open(path).convert("RGB")) for path in shipped_pictures()])


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [
        (InferenceSettings("bf16"), 0.006),
        (InferenceSettings("int8"), 0.025),
        (InferenceSettings("int8", calibration=str(shipped_pictures()[0].parent)), 0.025),
        (InferenceSettings("int8", calibration=shipped_pictures()), 0.025),
        (InferenceSettings("int8", "onnxruntime"), 0.025),
        (InferenceSettings("int8", "onnxruntime", calibration=shipped_pictures()), 0.025),
        (InferenceSettings("int8", "openvino"), 0.025),
    ],
)
def test_answering_model__keeps_what_is_promised_on_real_pictures(
    model: OpenedModel, images: torch.Tensor, wanted: InferenceSettings, limit: float
) -> None:
    if wanted.backend != TORCH:
        for package in ("onnxscript", wanted.backend):
            pytest.importorskip(package, reason="it runs the network, or writes its file")
    network = answering_model(model, wanted, batch_size=8).network
    with torch.inference_mode():
        exact, found = model.network(images), network(images)
    assert torch.equal(found.argmax(1), exact.argmax(1))
    assert 0 < float((found - exact).square().mean().sqrt() / exact.std()) < limit


def test_answering_model__default_is_the_model_itself(model: OpenedModel) -> None:
    assert answering_model(model, InferenceSettings(), batch_size=8) is model


def test_answering_model__classifies_other_sizes_exactly(model: OpenedModel) -> None:
    network, other = answering_model(model, InferenceSettings("bf16"), batch_size=8).network, torch.randn(2, 3, 36, 36)
    with torch.inference_mode():
        assert torch.equal(network(other), model.network(other))
    with pytest.raises(ImageError, match="multiples"):
        network(torch.randn(2, 3, 30, 30))


def test_answering_model__goes_through_the_stream(model: OpenedModel) -> None:
    paths = shipped_pictures()
    exact = list(predict_stream(open_model("embedded"), paths))
    found = list(predict_stream(answering_model(model, InferenceSettings("bf16"), batch_size=8), paths))
    assert [one.labels[0] for one in found] == [one.labels[0] for one in exact]
    scores = np.array([one.scores for one in found]) - np.array([one.scores for one in exact])
    assert 0 < np.abs(scores).max() < 0.02


def test_answering_model__auto_takes_what_was_chosen(
    model: OpenedModel, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice, asked, told = Choice("bf16", {"bf16": Measured(2, 0, 0, 1, 1), "fp32": Measured(1, 0, 0, 1, 1)}, 20), [], []
    monkeypatch.setattr(
        module, "choose_form", lambda question, folder, batch_size: asked.append((question, batch_size)) or choice
    )
    network = answering_model(model, InferenceSettings("auto"), batch_size=4, on_choice=told.append).network
    bf16 = answering_model(model, InferenceSettings("bf16"), batch_size=4).network
    with torch.inference_mode():
        assert torch.equal(network(images), bf16(images))
    assert told == [choice] and asked[0][1] == 4
    assert torch.equal(torch.stack(asked[0][0].pictures), images) and asked[0][0].ranges is None


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", ["fp32 by openvino", "fp32 by onnxruntime"]),
        ("bf16", ["bf16", "bf16 by openvino"]),
        ("fp16", ["fp16"]),
        ("int8", ["int8", "int8 by openvino", "int8 by onnxruntime"]),
        (
            "auto",
            ["bf16", "int8", "fp32 by openvino", "bf16 by openvino", "int8 by openvino"]
            + ["fp32 by onnxruntime", "int8 by onnxruntime"],
        ),
    ],
)
def test_answering_model__auto_asks_for_every_form_that_is_there(
    precision: str, expected: list[str], model: OpenedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    choice = Choice("fp32", {"fp32": Measured(1, 0, 0, 1, 1)}, 20)
    monkeypatch.setattr(module, "choose_form", lambda question, folder, batch_size: asked.append(question) or choice)
    monkeypatch.setattr(module, "installed_runtimes", lambda: ["openvino", "onnxruntime"])
    answering_model(model, InferenceSettings(precision, "auto"), batch_size=4)
    assert [form.name for form in asked[0].forms] == expected


def test_answering_model__auto_runs_what_it_takes(
    model: OpenedModel, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="it runs the network")
    names = {"fp32": Measured(1, 0, 0, 1, 1), "fp32 by onnxruntime": Measured(2, 0, 0, 1, 1)}
    monkeypatch.setattr(
        module, "choose_form", lambda question, folder, batch_size: Choice("fp32 by onnxruntime", names, 9)
    )
    network = answering_model(model, InferenceSettings("fp32", "auto"), batch_size=4).network
    assert isinstance(network.form, module.ExportedNetwork)
    with torch.inference_mode():
        assert torch.allclose(network(images), model.network(images), atol=1e-5)


def test_open_answering__opens_a_folder(tiny_model_folder: Path) -> None:
    opened = open_answering(tiny_model_folder, InferenceSettings("bf16"), batch_size=2)
    assert opened.class_names == open_model(tiny_model_folder).class_names
    with torch.inference_mode():
        assert opened.network(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_answering_model__refuses_a_folder_without_pictures(model: OpenedModel, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="have no picture"):
        answering_model(model, InferenceSettings("int8", calibration=str(tmp_path)), batch_size=8)


def test_answering_model__says_before_calibrating_that_int8_is_for_the_processor(model: OpenedModel) -> None:
    elsewhere = replace(model, network=deepcopy(model.network).to("meta"))
    with pytest.raises(SettingsError, match="not on meta"):
        answering_model(elsewhere, InferenceSettings("int8", calibration=shipped_pictures()), batch_size=8)


def test_answering_model__refuses_an_exported_network(model: OpenedModel) -> None:
    exported = module.ExportedNetwork(model.network.settings, lambda images: images, None, is_multi_label=False)
    with pytest.raises(SettingsError, match="export it again"):
        module.answering_network(
            exported, InferenceSettings("bf16"), lambda source: source, folder=Path(), batch_size=8
        )
