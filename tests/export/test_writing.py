import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from modelscope_beit.errors import ExportError, ModelFolderError, SettingsError
from modelscope_beit.export import writing
from modelscope_beit.export.certificate import read_certificate
from modelscope_beit.export.golden import packaged_pictures, read_golden
from modelscope_beit.export.targets import ExportRequest
from modelscope_beit.export.verifying import verify
from modelscope_beit.export.write_torch import write_torchscript
from modelscope_beit.export.writing import export_model
from modelscope_beit.images.reading import read_image


def test_export__onnx_in_8_bits_agrees_on_real_pictures(exported, embedded) -> None:
    """The share of best classes is computed here once more, from the file alone."""
    import onnxruntime

    folder = exported("embedded", "onnx", "int8")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    images = np.stack([embedded.transform(read_image(path)).numpy() for path in packaged_pictures()])
    with torch.inference_mode():
        expected = embedded.network(torch.from_numpy(images)).numpy()
    logits = session.run(None, {"images": images})[0]
    difference = np.abs(logits - expected).max()
    assert 1e-3 < difference < 0.2 * expected.std()
    assert (logits.argmax(1) == expected.argmax(1)).all()
    measured = {one.runtime: one for one in read_certificate(folder).measured}
    assert measured["onnxruntime"].largest_difference == pytest.approx(difference, abs=2e-2)
    assert measured["openvino"].agreement == 1
    assert (folder / "model.onnx").stat().st_size < 0.5 * (embedded.folder / "model.safetensors").stat().st_size
    assert "small grey garments" in "".join(read_certificate(folder).notes)


@pytest.mark.parametrize(("to", "precision"), [("onnx", "fp16"), ("openvino", "int8"), ("torch-export", "fp16")])
def test_export__every_target_passes_its_own_check(to: str, precision: str, exported) -> None:
    folder = exported("tiny", to, precision)
    assert all(check.is_right for check in verify(folder, trust_remote_code=True))
    content = json.loads((folder / "certificate.json").read_text())
    assert (content["to"], content["precision"]) == (to, precision)
    assert content["opset"] == (18 if to in ("onnx", "openvino") else None)
    golden = read_golden(folder / "golden.npz")
    assert golden.images.shape == (20, 3, 32, 32) and golden.logits.shape == (20, 5)


def test_export__leaves_the_model_as_it_is(exported, tiny_model) -> None:
    exported("tiny", "torchscript")
    with torch.inference_mode():
        logits = tiny_model.network(torch.from_numpy(read_golden(exported("tiny", "onnx") / "golden.npz").images))
    np.testing.assert_allclose(logits, read_golden(exported("tiny", "onnx") / "golden.npz").logits, atol=1e-6)


def test_export__refuses_what_differs_and_leaves_nothing(tiny_model, tmp_path, monkeypatch) -> None:
    class Shifted(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images) + 0.01

    def write_another(module: nn.Module, file: Path, images: torch.Tensor) -> None:
        write_torchscript(Shifted(module), file, images)

    monkeypatch.setattr(writing, "write_torchscript", write_another)
    with pytest.raises(ExportError, match=r"torch\.jit's logits differ by up to 0\.01 .*Nothing was written"):
        export_model(tiny_model, tmp_path / "refused", ExportRequest("torchscript"))
    assert not list(tmp_path.iterdir())
    export_model(tiny_model, tmp_path / "passed", ExportRequest("torchscript", tolerance=0.02))
    assert read_certificate(tmp_path / "passed").limits.tolerance == 0.02


def test_export__8_bits_that_lose_too_much_are_refused(convolutions, tmp_path) -> None:
    """A tolerance that 8 bits cannot keep stands for a network that they do not suit."""
    with pytest.raises(ExportError, match=r"onnxruntime's logits differ.*--calibration DATA"):
        export_model(convolutions, tmp_path / "refused", ExportRequest("onnx", "int8", tolerance=1e-5))
    assert not list(tmp_path.iterdir())


def test_export__folder_that_is_in_use(tiny_model, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(ModelFolderError, match=r"not empty \(it holds notes\.txt\)"):
        export_model(tiny_model, tmp_path, ExportRequest("torchscript"))


def test_export__dynamic_size_of_native_networks(tiny_model, tmp_path) -> None:
    with pytest.raises(SettingsError, match="32x32 pixels only"):
        export_model(tiny_model, tmp_path / "any", ExportRequest("onnx", dynamic_size=True))


def test_export__dynamic_size_is_certified_at_another_size(convolutions, tmp_path) -> None:
    certificate = export_model(convolutions, tmp_path / "any", ExportRequest("onnx", dynamic_size=True))
    assert certificate.size is None
    assert {one.size for one in certificate.measured} == {(32, 32), (64, 96)}
    about = json.loads((tmp_path / "any" / "preprocessing.json").read_text())
    assert about["input"]["shape"] == ["batch", 3, "height", "width"]
    assert all(check.is_right for check in verify(tmp_path / "any"))
