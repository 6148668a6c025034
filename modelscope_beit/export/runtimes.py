"""What can run an exported file: each gives a function from pictures to logits. Packages are asked for when needed."""

import os
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelscope_beit.errors import ExportError, MissingPackageError, require
from modelscope_beit.export.targets import INPUT_NAME

# How lines of OpenVINO's messages begin that name a line of its own source.
_PLACES = ("Exception from ", "Check '")
_LONGEST_CAUSE = 400
# What is made of so many pictures for each core stays in the caches. On two cores base answers large batches with 1.1
# times (ONNX Runtime) and 1.04 times (OpenVINO) the pictures per second that it has with all of them in one pass.
_PICTURES_A_CORE = {"onnxruntime": 2, "openvino": 4}

# Pictures (N, 3, H, W), float32, normalised -> logits (N, K), float32.
Session = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Runtime:
    """package: what has to be installed. open: path -> session; raises MissingPackageError without the package."""

    package: str
    open: Callable[[Path], Session]


def runtime_version(runtime: str) -> str:
    """Returns the version of a runtime that is installed."""
    version = str(import_module(RUNTIMES[runtime].package).__version__)
    # OpenVINO adds the commit and the branch it was built from.
    return version.partition("-")[0]


def open_session(runtime: str, file: Path) -> Session:
    """Returns a session of a runtime on the processor.

    runtime: a key of RUNTIMES. Raises MissingPackageError if it is not installed, ExportError if it cannot open the
    file. A session raises ExportError if the runtime fails.
    """
    try:
        session = RUNTIMES[runtime].open(file)
    except MissingPackageError:
        raise
    # Each runtime has kinds of its own, and broken bytes make all of them.
    except Exception as error:
        raise ExportError(f"{file} cannot be opened by {runtime}: {_cause(error)}") from error

    def run(images: np.ndarray) -> np.ndarray:
        try:
            return session(np.ascontiguousarray(images, np.float32))
        except Exception as error:
            raise ExportError(f"{file} cannot be run by {runtime}: {_cause(error)}") from error

    return run


def _open_onnxruntime(file: Path) -> Session:
    onnxruntime = require("onnxruntime", extra="onnx", purpose="to run ONNX files")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return _in_parts("onnxruntime", lambda images: session.run(None, {INPUT_NAME: images})[0])


def openvino_computes_in_bf16() -> bool:
    """Tells whether OpenVINO computes in bfloat16 on this processor; elsewhere it takes float32, and says nothing."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino() -> Any:
    return require("openvino", extra="openvino", purpose="to run OpenVINO files, and ONNX files by OpenVINO")


def _open_openvino(file: Path, precision: str) -> Session:
    # Its own choice is bfloat16 where the processor has it: then answers would depend on the machine.
    compiled = _openvino().Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return _in_parts("openvino", lambda images: compiled(images)[0].copy())


def _in_parts(runtime: str, session: Session) -> Session:
    at_once = _PICTURES_A_CORE[runtime] * (os.cpu_count() or 1)

    def run(images: np.ndarray) -> np.ndarray:
        parts = np.split(images, range(at_once, len(images), at_once))
        return np.concatenate([session(part) for part in parts])

    return run


def _open_torchscript(file: Path) -> Session:
    with warnings.catch_warnings():
        # That torch.export is preferred to it.
        warnings.simplefilter("ignore", FutureWarning)
        return _torch_session(torch.jit.load(file, map_location="cpu"))


def _open_program(file: Path) -> Session:
    return _torch_session(torch.export.load(file).module())


def _open_compiled(file: Path) -> Session:
    # torch documents it under this name.
    from torch._inductor import aoti_load_package

    return _torch_session(aoti_load_package(str(file)))


def _torch_session(network: Callable[[torch.Tensor], Any]) -> Session:
    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = network(torch.from_numpy(images)).numpy()
        return logits

    return run


def _cause(error: Exception) -> str:
    """Returns what a runtime complains of, in one line; OpenVINO says before it through which of its files it came."""
    lines = [line for line in str(error).splitlines() if not line.startswith(_PLACES)]
    return textwrap.shorten(" ".join(lines), _LONGEST_CAUSE, placeholder=" ...") or type(error).__name__


RUNTIMES = {
    "onnxruntime": Runtime("onnxruntime", _open_onnxruntime),
    "openvino": Runtime("openvino", partial(_open_openvino, precision="f32")),
    "openvino.bf16": Runtime("openvino", partial(_open_openvino, precision="bf16")),
    "torch.jit": Runtime("torch", _open_torchscript),
    "torch.export": Runtime("torch", _open_program),
    "torch.aotinductor": Runtime("torch", _open_compiled),
}
