import sys

import numpy as np
import pytest
import torch

from modelscope_beit.errors import ExportError, MissingPackageError
from modelscope_beit.export.runtimes import open_session, runtime_version

IMAGES = np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32)


@pytest.mark.parametrize(
    ("to", "runtime", "name"),
    [
        ("onnx", "onnxruntime", "model.onnx"),
        ("onnx", "openvino", "model.onnx"),
        ("torchscript", "torch.jit", "model.ts"),
    ],
)
def test_open_session__answers_as_the_network_does(to: str, runtime: str, name: str, exported, tiny_model) -> None:
    with torch.inference_mode():
        expected = tiny_model.network(torch.from_numpy(IMAGES)).numpy()
    session = open_session(runtime, exported("tiny", to) / name)
    first, second = session(IMAGES), session(IMAGES[::-1])
    # The second answer has not been written over the first one.
    np.testing.assert_allclose(first, expected, atol=1e-4)
    np.testing.assert_allclose(second, expected[::-1], atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_open_session__answers_in_order_however_many_pass_at_once(
    runtime: str, exported, tiny_model, monkeypatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    images = np.concatenate([IMAGES, IMAGES[1:] + 1])
    with torch.inference_mode():
        expected = tiny_model.network(torch.from_numpy(images)).numpy()
    session = open_session(runtime, exported("tiny", "onnx") / "model.onnx")
    for count in (5, 2, 0):
        np.testing.assert_allclose(session(images[:count]), expected[:count], atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch.jit", "torch.export", "torch.aotinductor"])
def test_open_session__broken_file(runtime: str, tmp_path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"nothing that anybody could run")
    with pytest.raises(ExportError, match=rf"model\.onnx cannot be opened by {runtime}"):
        open_session(runtime, file)


def test_open_session__tells_the_cause_of_openvino(tmp_path) -> None:
    file = tmp_path / "model.xml"
    file.write_bytes(b"nothing that anybody could run")
    with pytest.raises(ExportError, match="opened by openvino: Unable to read the model"):
        open_session("openvino", file)
    with pytest.raises(ExportError, match="opened by openvino: .*Could not open the file") as caught:
        open_session("openvino", tmp_path / "nowhere.xml")
    assert "\n" not in str(caught.value) and "Exception from" not in str(caught.value)


def test_open_session__says_when_the_runtime_fails(exported) -> None:
    session = open_session("onnxruntime", exported("tiny", "onnx") / "model.onnx")
    with pytest.raises(ExportError, match="cannot be run by onnxruntime"):
        session(IMAGES[:, :, :16])


@pytest.mark.parametrize(("runtime", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_open_session__missing_runtime(runtime: str, extra: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(MissingPackageError, match=rf"modelscope-beit\[{extra}\]"):
        open_session(runtime, tmp_path / "model.onnx")


def test_runtime_version__is_the_packages_own() -> None:
    assert runtime_version("torch.jit") == torch.__version__
    assert "-" not in runtime_version("openvino")
