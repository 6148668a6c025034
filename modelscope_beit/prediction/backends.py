"""A classifier -> the same one run by OpenVINO or ONNX Runtime, by way of the files that an export writes."""

import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.export.graph import exported_program, graph_module
from modelscope_beit.export.opening import ExportedNetwork
from modelscope_beit.export.runtimes import open_session, openvino_computes_in_bf16
from modelscope_beit.export.targets import LOWEST_OPSET, TARGETS
from modelscope_beit.export.write_onnx import quantize_onnx, write_onnx
from modelscope_beit.export.write_openvino import write_openvino
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.network.mapped_memory import give_back
from modelscope_beit.settings.inference import RUNTIMES

# From this opset on attention is one operator, with which ONNX Runtime answers 1.03 times as fast, in int8 up to 1.06
# times; OpenVINO is no faster. These releases are the first that know it; torch 2.9 is the first that was tried.
_ATTENTION_OPSET = 23
_ATTENTION_SINCE = {"torch": (2, 9), "onnx": (1, 18), "onnxruntime": (1, 23)}


def installed_runtimes() -> list[str]:
    """Returns the backends beside torch whose packages are here, those that write their files among them."""
    return [name for name in RUNTIMES if all(find_spec(package) for package in ("onnx", "onnxscript", name))]


def session_network(
    network: Classifier, backend: str, precision: str, calibration: Sequence[np.ndarray] = ()
) -> ExportedNetwork:
    """Returns a network that a backend runs on the processor, for pictures of the network's size.

    backend, precision: of settings.inference.PRECISIONS_BY. calibration: pictures (3, H, W), normalised, from
    which 8-bit integers take the ranges of activations; none: those of each pass. Nothing is compared here: an export
    does that, and certifies it.
    Raises SettingsError for a network that is on another device, that has no size, or that is no graph, and for bf16 on
    a processor without instructions for it; MissingPackageError without the packages.
    """
    device, size = next(network.parameters()).device, network.settings.image_size
    if device.type != "cpu" or size is None:
        why = f"on {device}" if size is not None else "for pictures of any size"
        raise SettingsError(
            f"The backend {backend} runs networks with one size of pictures on the processor; this one is {why}. "
            "Use the backend torch."
        )
    runs = backend
    # In int8 it is for what stays in float, as by torch: 1.07 times the pictures per second of base.
    if backend == "openvino" and precision != "fp32" and openvino_computes_in_bf16():
        runs = "openvino.bf16"
    elif precision == "bf16":
        raise SettingsError(
            "OpenVINO computes in bfloat16 only on processors that have instructions for it (AVX-512 BF16 or AMX), "
            "unlike this one. Use the backend torch, or fp32."
        )
    with tempfile.TemporaryDirectory(prefix="beit-", ignore_cleanup_errors=True) as folder:
        file = _write(network, size, backend, precision, calibration, Path(folder))
        # The session has weights of its own; these are for pictures of other sizes only.
        give_back(network.parameters())
        session = open_session(runs, file)
    return ExportedNetwork(network.settings, session, size, is_multi_label=network.is_multi_label)


def _write(
    network: Classifier,
    size: tuple[int, int],
    backend: str,
    precision: str,
    calibration: Sequence[np.ndarray],
    folder: Path,
) -> Path:
    module = graph_module(network, for_openvino=backend == "openvino")
    program = exported_program(module, torch.zeros(2, 3, *size), dynamic_size=False)
    file = folder / TARGETS["onnx"].file
    write_onnx(program, file, opset=_opset(backend), dynamic_size=False, weights_beside=True)
    if precision == "int8":
        source, file = file, folder / f"int8_{file.name}"
        quantize_onnx(source, file, calibration)
    if backend == "openvino":
        source, file = file, folder / TARGETS["openvino"].file
        write_openvino(source, file, half=False)
    return file


def _opset(backend: str) -> int:
    knows_attention = all(_release(package) >= since for package, since in _ATTENTION_SINCE.items())
    return _ATTENTION_OPSET if backend == "onnxruntime" and knows_attention else LOWEST_OPSET


def _release(package: str) -> tuple[int, ...]:
    """The first two numbers of the version of a package that is installed."""
    return tuple(int(number) for number in str(import_module(package).__version__).split(".")[:2])
