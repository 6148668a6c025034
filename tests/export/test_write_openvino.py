import numpy as np
import pytest

from modelscope_beit.errors import MissingPackageError
from modelscope_beit.export.runtimes import open_session
from modelscope_beit.export.write_openvino import write_openvino


def test_write_openvino__half_halves_the_weights(exported, tmp_path) -> None:
    onnx_file = exported("tiny", "onnx") / "model.onnx"
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32)
    expected = open_session("onnxruntime", onnx_file)(images)
    sizes = []
    for half, tolerance in ((False, 1e-4), (True, 2e-2)):
        file = tmp_path / f"half_{half}.xml"
        write_openvino(onnx_file, file, half=half)
        sizes.append(file.with_suffix(".bin").stat().st_size)
        assert np.abs(open_session("openvino", file)(images) - expected).max() < tolerance
    assert sizes[1] < 0.55 * sizes[0]


def test_write_openvino__needs_its_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingPackageError, match=r"modelscope-beit\[openvino\]"):
        write_openvino(tmp_path / "none.onnx", tmp_path / "model.xml", half=False)
