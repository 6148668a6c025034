"""An exported program -> an ONNX file; and an ONNX file -> one in 8-bit integers."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from modelscope_beit.errors import SettingsError, require
from modelscope_beit.export.graph import axis_names
from modelscope_beit.export.targets import INPUT_NAME, OUTPUT_NAME

# What protobuf refuses to hold in one message.
_LARGEST_MESSAGE = 2_000_000_000
# Products with weights. Those of attention, of activations alone, stay in float.
_QUANTIZED = ["Conv", "Gemm", "MatMul"]
_CALIBRATION_BATCH = 4


def write_onnx(
    program: ExportedProgram, file: Path, *, opset: int, dynamic_size: bool, weights_beside: bool = False
) -> None:
    """Writes an ONNX file: input "images" (batch, 3, H, W), output "logits" (batch, K), both float32.

    Weights beyond 2 GB lie in FILE.data beside it. Paths and line numbers of this machine are left out.
    weights_beside: for a file that is soon forgotten: weights of any size lie in FILE.data, nothing is left out, and
        they are in memory once where one file takes four times; a session maps them, too.
    Raises MissingPackageError without onnx and onnxscript, SettingsError for an opset that torch does not write.
    """
    onnx = require("onnx", extra="onnx", purpose="to write ONNX files")
    require("onnxscript", extra="onnx", purpose="to write ONNX files")
    with warnings.catch_warnings():
        # About names of axes that torch has merged; the shapes are read back below.
        warnings.simplefilter("ignore")
        written: Any = torch.onnx.export(
            program,
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=(axis_names(dynamic_size=dynamic_size),),
            verbose=False,
        )
    found = written.model.opset_imports[""]
    if found != opset:
        raise SettingsError(
            f"torch {torch.__version__} writes this network in opset {found}, not in {opset}; ask for {found}."
        )
    if weights_beside:
        written.save(file, external_data=True)
        return
    model = written.model_proto
    # Each node says from which line of which file it comes.
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        del part.metadata_props[:]
    onnx.save(model, file, save_as_external_data=_is_large(model), location=f"{file.name}.data")


def quantize_onnx(source: Path, file: Path, images: Sequence[np.ndarray]) -> None:
    """Writes an ONNX file whose products with weights are in 8-bit integers, as QDQ nodes with fixed ranges.

    source: in float32; a file is written beside it. images: some (3, H, W), normalised, of equal size; the ranges of
        activations are those met with them. Without any, ranges are those of each pass, and only ONNX Runtime is fast.
    The first and the last of them, of pixels and to logits, stay in float: less than 1 % of the arithmetic of base and
    more than half of the error (rms of the logits' difference 1.2 % of their spread; with them 2.5 %, or 2.9 % with
    fixed ranges). Weights use 7 of the 8 bits: processors without VNNI add two products in 16 bits, which 8 bits
    overflow; seen with the embedded network, all of it in integers, whose logits then moved by 0.41, not by 0.10.
    """
    quantization = require("onnxruntime.quantization", extra="onnx", purpose="to quantize ONNX files")
    prepared = source.with_name(f"prepared-{source.name}")
    is_large = source.with_name(f"{source.name}.data").exists()
    # Without symbols: torch has written all shapes already.
    quantization.shape_inference.quant_pre_process(
        source, prepared, skip_symbolic_shape=True, save_as_external_data=is_large
    )
    in_float = _first_and_last_product(prepared)
    if not images:
        _forget_shapes(prepared)
        quantization.quantize_dynamic(
            prepared,
            file,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=in_float,
            use_external_data_format=is_large,
            extra_options={"MatMulConstBOnly": True},
        )
        return
    quantization.quantize_static(
        prepared,
        file,
        _reader(quantization.CalibrationDataReader, images),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=_QUANTIZED,
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=in_float,
        use_external_data_format=is_large,
        extra_options={"MatMulConstBOnly": True},
    )


def _first_and_last_product(file: Path) -> list[str]:
    """The names of two nodes with weights, and those that ONNX Runtime gives them when it splits off their bias.

    None where nothing lies between the two, so that something is in 8 bits.
    """
    onnx = require("onnx", extra="onnx", purpose="to quantize ONNX files")
    graph = onnx.load(file, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = [node.name for node in graph.node if node.op_type in _QUANTIZED and weights.intersection(node.input)]
    ends = [products[0], products[-1]] if len(products) > 2 else []
    return ends + [f"{name}_MatMul" for name in ends]


def _forget_shapes(file: Path) -> None:
    """Removes the shapes in between: ONNX Runtime transposes the head's weights and then stumbles over the old ones."""
    onnx = require("onnx", extra="onnx", purpose="to quantize ONNX files")
    model = onnx.load(file, load_external_data=False)
    del model.graph.value_info[:]
    onnx.save(model, file)


def _is_large(model: Any) -> bool:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _LARGEST_MESSAGE


def _reader(kind: Any, images: Sequence[np.ndarray]) -> Any:
    """The pictures as onnxruntime asks for them: one batch after another, then None."""

    class Reader(kind):
        def __init__(self) -> None:
            self._batches = _batches(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT_NAME: batch}

    return Reader()


def _batches(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for first in range(0, len(images), _CALIBRATION_BATCH):
        yield np.stack(images[first : first + _CALIBRATION_BATCH])
