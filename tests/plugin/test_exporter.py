"""What users of ModelScope's Exporter write, for our models."""

import pytest
import torch
from modelscope.exporters import Exporter
from modelscope.models import Model

import modelscope_beit  # noqa: F401
from modelscope_beit.errors import SettingsError
from modelscope_beit.export.certificate import read_certificate
from modelscope_beit.network.inference_form import inference_form


def test_exporter__onnx(tiny_model_folder, tmp_path) -> None:
    exporter = Exporter.from_model(str(tiny_model_folder))
    written = exporter.export_onnx(str(tmp_path / "out"), opset=20)
    assert written == {"model": str(tmp_path / "out" / "model.onnx")}
    certificate = read_certificate(tmp_path / "out")
    assert certificate.opset == 20 and certificate.measured[0].runtime == "onnxruntime"


def test_exporter__torchscript_of_an_open_model_in_its_fast_form(tiny_model_folder, tmp_path) -> None:
    model = Model.from_pretrained(str(tiny_model_folder))
    inference_form(model.cls_model, in_place=True)
    written = Exporter.from_model(model).export_torch_script(str(tmp_path / "out"), precision="fp16")
    assert written == {"model": str(tmp_path / "out" / "model.ts")}
    network = torch.jit.load(written["model"])
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(network(images), model.cls_model(images), rtol=0, atol=0.05)


def test_exporter__refuses_a_model_whose_folder_has_other_weights(tiny_model_folder, tmp_path) -> None:
    model = Model.from_pretrained(str(tiny_model_folder))
    with torch.no_grad():
        model.cls_model.head.fc.weight.mul_(-1)
    with pytest.raises(SettingsError, match="no longer answers as its folder"):
        Exporter.from_model(model).export_torch_script(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
