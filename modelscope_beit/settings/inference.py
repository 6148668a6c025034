"""What a person may ask of the network that answers: its precision, and what runs it. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelscope_beit.errors import SettingsError

AUTO = "auto"
PRECISIONS = ("fp32", "bf16", "fp16", "int8", AUTO)
TORCH = "torch"
# What runs the graph of a network in torch's place.
RUNTIMES = ("openvino", "onnxruntime")
BACKENDS = (TORCH, *RUNTIMES, AUTO)
# What a network is answered in by each; bf16 by openvino only on processors that have instructions for it.
PRECISIONS_BY = {
    TORCH: ("fp32", "bf16", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "onnxruntime": ("fp32", "int8"),
}


@dataclass(frozen=True)
class InferenceSettings:
    """How a network answers.

    precision: "fp32" is exact. "bf16" is faster where the processor has instructions for it; "int8" with AVX2, too,
        if the network is not small. Both need less memory. "fp16" is for GPUs. "auto" is the fastest one that stays
        close to fp32.
    backend: "torch", or what runs the graph of the network in its place; "auto" is the fastest that is installed.
    calibration: a folder of pictures or a list of them, as images.reading takes them, from which int8 takes the
        ranges of its activations; none: the range is that of each batch, so that an answer depends a little on the
        pictures beside it, and with OpenVINO that of the pictures that come with the package.
    """

    precision: str = "fp32"
    backend: str = TORCH
    calibration: str | Sequence[Any] = ()

    @property
    def is_a_choice(self) -> bool:
        """Whether the machine has to be asked which form is the fastest."""
        return AUTO in (self.precision, self.backend)

    def __post_init__(self) -> None:
        """Raises SettingsError that lists everything that cannot be asked for."""
        problems = []
        if self.precision not in PRECISIONS:
            problems.append(f"precision is one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        if self.backend not in BACKENDS:
            problems.append(f"backend is one of {', '.join(BACKENDS)}, not {self.backend!r}")
        there = PRECISIONS_BY.get(self.backend, PRECISIONS)
        if self.precision in PRECISIONS and self.precision not in (*there, AUTO):
            problems.append(f"{self.backend} runs {', '.join(there)} here, not {self.precision}")
        if self.calibration and self.precision not in ("int8", AUTO):
            problems.append(f"pictures to calibrate with are for int8 and auto, but the precision is {self.precision}")
        if problems:
            raise SettingsError("The network cannot answer like that: " + "; ".join(problems) + ".")
