"""A tiny network by other runtimes, beside itself."""

from pathlib import Path

import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.export.runtimes import Session, open_session, openvino_computes_in_bf16
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.prediction import backends
from modelscope_beit.prediction.backends import session_network

pytest.importorskip("onnxscript", reason="writes ONNX files")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_session_network__gives_the_classifiers_logits(backend: str, tiny_classifier: BeitClassifier) -> None:
    pytest.importorskip(backend)
    images = torch.randn(3, 3, 32, 32)
    network = session_network(tiny_classifier, backend, "fp32")
    with torch.inference_mode():
        torch.testing.assert_close(network(images), tiny_classifier(images), atol=1e-4, rtol=0)
        torch.testing.assert_close(network(images[:1]), tiny_classifier(images[:1]), atol=1e-4, rtol=0)


def test_session_network__in_bfloat16_is_close(tiny_classifier: BeitClassifier) -> None:
    pytest.importorskip("openvino")
    if not openvino_computes_in_bf16():
        pytest.skip("this processor has no instructions for bfloat16")
    images = torch.randn(8, 3, 32, 32)
    network = session_network(tiny_classifier, "openvino", "bf16")
    with torch.inference_mode():
        exact, found = tiny_classifier(images), network(images)
    assert 0 < float((found - exact).square().mean().sqrt() / exact.std()) < 0.02


def test_session_network__refuses_bfloat16_where_openvino_would_take_float32(
    tiny_classifier: BeitClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "openvino_computes_in_bf16", lambda: False)
    with pytest.raises(SettingsError, match="only on processors that have instructions for it"):
        session_network(tiny_classifier, "openvino", "bf16")


@pytest.mark.parametrize("number", [8, 0])
def test_session_network__in_8_bit_integers_is_close(tiny_classifier: BeitClassifier, number: int) -> None:
    """With ranges from pictures, and with those of each pass."""
    pytest.importorskip("onnxruntime")
    images = torch.randn(8, 3, 32, 32)
    network = session_network(tiny_classifier, "onnxruntime", "int8", list(images[:number].numpy()))
    with torch.inference_mode():
        exact, found = tiny_classifier(images), network(images)
    assert 0 < float((found - exact).square().mean().sqrt() / exact.std()) < 0.1


@pytest.mark.parametrize(("release", "opset"), [("1.23.0", 23), ("1.22.1", 18), ("1.9.0", 18)])
def test_session_network__takes_attention_as_one_operator_where_onnx_runtime_knows_it(
    release: str, opset: int, tiny_classifier: BeitClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime 1.22 refuses a file of opset 23."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    written = []

    def opening(runtime: str, file: Path) -> Session:
        written.append(onnx.load(file, load_external_data=False).opset_import[0].version)
        return open_session(runtime, file)

    monkeypatch.setattr(backends, "open_session", opening)
    monkeypatch.setattr(onnxruntime, "__version__", release)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.0+cpu"))
    images = torch.randn(2, 3, 32, 32)
    network = session_network(tiny_classifier, "onnxruntime", "fp32")
    assert written == [opset]
    with torch.inference_mode():
        torch.testing.assert_close(network(images), tiny_classifier(images), atol=1e-4, rtol=0)


def test_session_network__is_for_the_processor() -> None:
    class Elsewhere(BeitClassifier):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.weight = torch.nn.Parameter(torch.empty(1, device="meta"))
            self.settings = type("Settings", (), {"image_size": (32, 32)})()

    with pytest.raises(SettingsError, match="openvino runs networks.*this one is on meta"):
        session_network(Elsewhere(), "openvino", "fp32")
