import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch

import helpers
from modelscope_beit.errors import MissingPackageError, SettingsError
from modelscope_beit.export.graph import exported_program, graph_module
from modelscope_beit.export.write_onnx import quantize_onnx, write_onnx


@pytest.fixture(scope="module")
def program(tiny_model):
    return exported_program(graph_module(tiny_model.network), torch.randn(2, 3, 32, 32), dynamic_size=False)


def axes(value: onnx.ValueInfoProto) -> list[object]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_write_onnx__names_opset_and_axes(program, tmp_path) -> None:
    write_onnx(program, tmp_path / "model.onnx", opset=21, dynamic_size=False)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 21)]
    ((images,), (logits,)) = model.graph.input, model.graph.output
    assert (images.name, axes(images)) == ("images", ["batch", 3, 32, 32])
    assert (logits.name, axes(logits)) == ("logits", ["batch", 5])


def test_write_onnx__says_nothing_of_this_machine(exported) -> None:
    content = (exported("tiny", "onnx") / "model.onnx").read_bytes()
    assert str(helpers.ROOT).encode() not in content and b".py" not in content


def test_write_onnx__weights_beside_are_the_same_ones(program, tmp_path) -> None:
    whole, apart = tmp_path / "whole.onnx", tmp_path / "apart.onnx"
    write_onnx(program, whole, opset=18, dynamic_size=False)
    write_onnx(program, apart, opset=18, dynamic_size=False, weights_beside=True)
    assert not whole.with_name("whole.onnx.data").exists()
    assert apart.with_name("apart.onnx.data").stat().st_size > 0.8 * whole.stat().st_size
    weights = [
        {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(file).graph.initializer}
        for file in (whole, apart)
    ]
    np.testing.assert_equal(*weights)


def test_write_onnx__opset_that_torch_does_not_write(tmp_path) -> None:
    program = exported_program(torch.nn.Linear(4, 2), torch.randn(2, 4), dynamic_size=False)
    with pytest.raises(SettingsError, match="not in 999; ask for 18"):
        write_onnx(program, tmp_path / "model.onnx", opset=999, dynamic_size=False)


def test_write_onnx__needs_its_extra(program, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingPackageError, match=r"modelscope-beit\[onnx\]"):
        write_onnx(program, tmp_path / "model.onnx", opset=18, dynamic_size=False)


@pytest.mark.parametrize("number", [5, 0])
def test_quantize_onnx__keeps_weights_in_seven_bits_and_both_ends_and_attention_in_float(
    number: int, exported, tmp_path, caplog
) -> None:
    """With ranges from pictures, and with those of each pass."""
    source = tmp_path / "float.onnx"
    source.write_bytes((exported("tiny", "onnx") / "model.onnx").read_bytes())
    images = np.random.default_rng(0).standard_normal((number, 3, 32, 32), np.float32)
    quantize_onnx(source, tmp_path / "int8.onnx", list(images))
    graph = onnx.load(tmp_path / "int8.onnx").graph
    weights = [one for one in graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 2]
    # Of the block: queries, keys and values, projection and two layers. Not the patches, nor the head.
    assert len(weights) == 4
    assert max(np.abs(onnx.numpy_helper.to_array(one).astype(int)).max() for one in weights) == 64
    in_float = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in in_float]
    assert len(products) == 2
    # The first export of a process makes torch tell of its tracing.
    assert not [record for record in caplog.records if not record.name.startswith("torch.")]
