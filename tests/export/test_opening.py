import json

import numpy as np
import pytest
import torch

from modelscope_beit.errors import ExportError, ImageError, SettingsError, UntrustedCodeError
from modelscope_beit.export.opening import exported_folder, open_exported, open_model_or_export
from modelscope_beit.images.reading import read_image
from modelscope_beit.prediction.stream import predict_stream


def test_open_exported__predicts_as_the_model_does(exported, tiny_model, ten_images) -> None:
    opened = open_exported(exported("tiny", "onnx"))
    assert opened.class_names == tiny_model.class_names
    assert opened.settings.model == tiny_model.settings.model
    found, expected = (list(predict_stream(model, ten_images, batch_size=4)) for model in (opened, tiny_model))
    for one, other in zip(found, expected, strict=True):
        assert (one.source, one.labels, one.error) == (other.source, other.labels, None)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_open_exported__prepares_pictures_bit_for_bit(exported, tiny_model, ten_images) -> None:
    opened = open_exported(exported("tiny", "onnx"))
    for path in ten_images:
        picture = read_image(path)
        assert torch.equal(opened.transform(picture), tiny_model.transform(picture))


def test_open_exported__formats_of_torch_need_trust(exported) -> None:
    folder = exported("tiny", "torchscript")
    with pytest.raises(UntrustedCodeError, match=r"model\.ts.*--trust-remote-code"):
        open_exported(folder)
    assert open_exported(folder, trust_remote_code=True).network(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


def test_exported_network__says_which_size_it_takes(exported) -> None:
    network = open_exported(exported("tiny", "onnx")).network
    with pytest.raises(ImageError, match="pictures of 32x32 pixels, but one of 32x40 came"):
        network(torch.zeros(2, 3, 32, 40))


def test_exported_folder__by_folder_or_file(exported, tiny_model, tmp_path) -> None:
    folder = exported("tiny", "onnx")
    assert exported_folder(folder) == exported_folder(folder / "model.onnx") == folder
    assert exported_folder(tiny_model.folder) is None
    assert exported_folder(tmp_path / "nothing") is None


def test_open_model_or_export__either(exported, tiny_model) -> None:
    assert open_model_or_export(tiny_model.folder).folder == tiny_model.folder
    assert open_model_or_export(exported("tiny", "onnx") / "model.onnx").folder == exported("tiny", "onnx")
    with pytest.raises(SettingsError, match="runs on the processor, not on 'cuda'"):
        open_model_or_export(exported("tiny", "onnx"), device="cuda")


@pytest.mark.parametrize("text", ["", "[]", '{"steps": [], "softmax": true}', '{"steps": 3, "softmax": true}'])
def test_open_exported__broken_preprocessing(text: str, tiny_onnx) -> None:
    (tiny_onnx / "preprocessing.json").write_text(text)
    with pytest.raises(ExportError, match=r"preprocessing\.json must"):
        open_exported(tiny_onnx)


def test_open_exported__sigmoids_of_multi_label_networks(tiny_onnx, ten_images) -> None:
    file = tiny_onnx / "preprocessing.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"softmax": False}))
    opened = open_exported(tiny_onnx)
    (found,) = predict_stream(opened, ten_images[:1])
    logits = opened.network(opened.transform(read_image(ten_images[0]))[None])[0]
    np.testing.assert_allclose(found.scores, np.sort(1 / (1 + np.exp(-logits.numpy())))[::-1], atol=1e-6)


def test_open_exported__calibrated(calibrated_onnx, exported) -> None:
    confidence = open_model_or_export(calibrated_onnx).confidence
    assert confidence is not None and confidence.temperature == 0.4
    about = json.loads((calibrated_onnx / "preprocessing.json").read_text())
    assert about["confidence"]["unknown_below"] == confidence.unknown_below
    (note,) = json.loads((calibrated_onnx / "certificate.json").read_text())["notes"]
    assert "softmax(logits / 0.4)" in note and f"below {confidence.unknown_below:.6g}" in note
    plain = exported("tiny", "onnx")
    assert open_model_or_export(plain).confidence is None
    assert "confidence" not in json.loads((plain / "preprocessing.json").read_text())
    assert "scores" not in np.load(plain / "golden.npz")
