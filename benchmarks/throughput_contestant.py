"""One contestant of throughput.py: opens the network, says what it answers, then makes passes when it is told to.

  python benchmarks/throughput_contestant.py NAME PRECISION FOLDER

Only what the contestant itself needs is imported, so that its memory is its own.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# The first pictures of pictures.npy give the ranges for int8, on the others answers are compared.
CALIBRATION_PICTURES = 16
# One of them makes products in bfloat16 fast.
BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})
# Pictures (N, 3, H, W), float32 -> logits (N, K), float32.
Forward = Callable[[np.ndarray], np.ndarray]


class CannotRunError(Exception):
    """Why a contestant cannot run in a precision on this machine."""


def main(name: str, precision: str, folder: Path) -> None:
    """Answers with one JSON object per line: first the logits, or a refusal; then each turn's seconds and memory."""
    pictures = np.load(folder / "pictures.npy")
    try:
        forward = CONTESTANTS[name](folder, precision)
        logits = forward(pictures[CALIBRATION_PICTURES:])
    except CannotRunError as error:
        tell({"refusal": str(error)})
        return
    tell({"logits": logits.tolist()})
    for line in sys.stdin:
        order = json.loads(line)
        batch = pictures[np.arange(order["batch"]) % len(pictures)]
        if order["is_first"]:
            forward(batch)
        times: list[float] = []
        while not times or sum(times) < order["seconds"]:
            start = time.perf_counter()
            forward(batch)
            times.append(time.perf_counter() - start)
        tell({"times": times, "peak_bytes": peak_bytes()})


def tell(row: dict[str, Any]) -> None:
    """Writes a line that others' messages on the same stream cannot be mistaken for."""
    print("RESULT", json.dumps(row), flush=True)


def peak_bytes() -> int:
    """Returns the most memory that was resident, from the start of this process, mapped files included."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def open_ours(folder: Path, precision: str, backend: str = "torch") -> Forward:
    """Ours, as `beit predict --precision --backend` has it; int8 with ranges from a few pictures, or of each pass.

    ONNX Runtime is as its peer there: ranges of each pass, which is what it has without pictures to calibrate with.
    """
    import torch

    from modelscope_beit.errors import SettingsError
    from modelscope_beit.model_folder.opening import open_model
    from modelscope_beit.network.precision import form_in
    from modelscope_beit.prediction.answering import answering_network
    from modelscope_beit.settings.inference import InferenceSettings

    model = open_model(folder / "stock")
    if precision == "fp32" and backend == "torch":
        return run_torch(form_in(model.network, "fp32", in_place=True), "fp32")
    takes_ranges = precision == "int8" and backend != "onnxruntime"
    calibration = list(np.load(folder / "pictures.npy")[:CALIBRATION_PICTURES]) if takes_ranges else []
    wanted = InferenceSettings(precision, backend, calibration=calibration)
    try:
        network = answering_network(model.network, wanted, torch.from_numpy, folder=model.folder, batch_size=1)
    except SettingsError as error:
        raise CannotRunError(str(error)) from error
    return run_torch(network, "fp32")


def open_stock(folder: Path, precision: str) -> Forward:
    """ModelScope's own model class, which holds a classifier of mmcls; without softmax and top classes."""
    # Registers the two backbones.
    import modelscope.models.cv.image_classification.backbones  # noqa: F401
    from modelscope.models.cv.image_classification.mmcls_model import ClassificationModel

    configuration = json.loads((folder / "stock" / "configuration.json").read_text(encoding="utf-8"))
    if not isinstance(configuration["model"]["mm_model"]["backbone"]["arch"], str):
        raise CannotRunError("its backbone knows base and large only")
    classifier = ClassificationModel(str(folder / "stock")).cls_model
    network = in_precision(classifier, precision)
    answer = lambda images: network.simple_test(images, softmax=False, post_process=False)  # noqa: E731
    return run_torch(answer, precision)


def open_timm(folder: Path, precision: str) -> Forward:
    """The same architecture of timm."""
    import timm

    network = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True)
    return run_torch(in_precision(network, precision), precision)


def open_transformers(folder: Path, precision: str) -> Forward:
    """The same architecture of transformers, with PyTorch's fused attention."""
    from transformers import AutoModelForImageClassification

    opened = AutoModelForImageClassification.from_pretrained(folder / "transformers", attn_implementation="sdpa")
    network = in_precision(opened, precision)
    return run_torch(lambda images: network(pixel_values=images).logits, precision)


def open_onnxruntime(folder: Path, precision: str) -> Forward:
    """ONNX Runtime with timm's network, exported by torch, in 8 bits by ONNX Runtime's own quantizer."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"timm_{precision}.onnx", providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return lambda images: session.run(None, {name: images})[0]


def open_openvino(folder: Path, precision: str) -> Forward:
    """OpenVINO with timm's network, exported by torch; bfloat16 only where the processor has it."""
    import openvino

    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise CannotRunError("OpenVINO computes in bfloat16 only on processors that have instructions for it")
    compiled = core.compile_model(
        folder / "timm_fp32.xml", "CPU", {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    )
    return lambda images: compiled(images)[0].copy()


def open_products(folder: Path, precision: str) -> Forward:
    """The machine itself: plain matrix products of the shapes of the network's linear layers, nothing else.

    Those are the fastest that torch has: in bfloat16, and in float32 where it is faster than MKL, oneDNN's with packed
    weights; in int8 oneDNN's of uint8 with packed int8 (torch._int_mm is a hundred times slower without VNNI).
    """
    import torch
    from throughput_report import processor

    from modelscope_beit.network.operator_checks import (
        largest_packed_int8,
        packed_int8_product,
        packed_int8_weight,
        packed_product,
        packed_weight,
        prefers_onednn,
    )

    if precision == "bf16" and not BF16_INSTRUCTIONS.intersection(processor()[1]):
        # A slow loop, which limits nobody.
        raise CannotRunError(f"the processor has none of {', '.join(sorted(BF16_INSTRUCTIONS))}")
    if precision == "int8" and largest_packed_int8() is None:
        raise CannotRunError("oneDNN's int8 products are wrong here, or not to be had")
    about = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    shapes = [tuple(shape) for shape in about["shapes"]]
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.uint8}[precision]

    def layer(inside: int, outside: int) -> Callable[[Any], Any]:
        if precision == "int8":
            packed = packed_int8_weight(torch.ones(outside, inside, dtype=torch.int8))
            return lambda left: packed_int8_product(left, (1.0, 0), packed, torch.ones(outside), None)
        weight = torch.ones(outside, inside, dtype=dtype)
        if precision == "bf16" or prefers_onednn():
            packed = packed_weight(weight)
            return lambda left: packed_product(left, packed, None)
        return lambda left: torch.mm(left, weight.t())

    products = [(inside, times, layer(inside, outside)) for inside, outside, times in shapes]

    @torch.inference_mode()
    def forward(images: np.ndarray) -> np.ndarray:
        rows = len(images) * about["tokens"]
        for inside, times, product in products:
            left = torch.ones(rows, inside, dtype=dtype)
            for _ in range(times):
                product(left)
        return np.zeros((len(images), 0), np.float32)

    return forward


def in_precision(network: Any, precision: str) -> Any:
    """Returns a torch module for inference, its weights in a type."""
    import torch

    return network.eval().to(torch.bfloat16 if precision == "bf16" else torch.float32)


def run_torch(network: Callable[[Any], Any], precision: str) -> Forward:
    """Returns a function from and to arrays; the change of type is part of a pass."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    @torch.inference_mode()
    def forward(images: np.ndarray) -> np.ndarray:
        logits = network(torch.from_numpy(images).to(dtype))
        return torch.as_tensor(np.asarray(logits) if isinstance(logits, list) else logits).float().numpy()

    return forward


CONTESTANTS: dict[str, Callable[[Path, str], Forward]] = {
    "ours": open_ours,
    "ours by ONNX Runtime": partial(open_ours, backend="onnxruntime"),
    "ours by OpenVINO": partial(open_ours, backend="openvino"),
    "ModelScope + mmcls": open_stock,
    "timm": open_timm,
    "transformers": open_transformers,
    "timm in ONNX Runtime": open_onnxruntime,
    "timm in OpenVINO": open_openvino,
    "matrix products": open_products,
}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
