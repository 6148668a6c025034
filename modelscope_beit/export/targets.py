"""What a network can be exported to, and what a person may ask of an export. No packages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelscope_beit.errors import SettingsError

# The files of an exported folder beside the network's own, which a Target names.
CERTIFICATE_FILE = "certificate.json"
READABLE_CERTIFICATE_FILE = "certificate.md"
PREPROCESSING_FILE = "preprocessing.json"
GOLDEN_FILE = "golden.npz"
PICTURES_FOLDER = "pictures"
SCRIPT_FILE = "classify.py"

# The names by which every graph knows its input and its output.
INPUT_NAME = "images"
OUTPUT_NAME = "logits"

# What torch's exporter writes without converting versions, which fails for our graphs below it.
LOWEST_OPSET = 18


@dataclass(frozen=True)
class Target:
    """One kind of exported file.

    file: its name. runtimes: names of export.runtimes that can run it; the first one is the one to predict with.
    runs_code: whether opening the file can run code, so that it needs trust.
    """

    file: str
    runtimes: tuple[str, ...]
    precisions: tuple[str, ...]
    runs_code: bool


TARGETS = {
    "onnx": Target("model.onnx", ("onnxruntime", "openvino"), ("fp32", "fp16", "int8"), runs_code=False),
    "openvino": Target("model.xml", ("openvino",), ("fp32", "fp16", "int8"), runs_code=False),
    "torchscript": Target("model.ts", ("torch.jit",), ("fp32", "fp16"), runs_code=True),
    "torch-export": Target("model.pt2", ("torch.export",), ("fp32", "fp16"), runs_code=True),
    "aotinductor": Target("model.pt2", ("torch.aotinductor",), ("fp32", "fp16"), runs_code=True),
}


@dataclass(frozen=True)
class ExportRequest:
    """What a person asks for.

    to: a key of TARGETS. precision: "fp32", "fp16" or "int8". dynamic_size: for pictures of any size.
    opset: of ONNX's operators; counts for "onnx" and "openvino".
    calibration: pictures, as images.reading takes them, from which int8 takes its ranges; none: those that come with
        the package. tolerance: largest difference of a logit that is let pass; None: a share of the logits' spread,
        and most best classes must stay the same. command: how it was asked for, for the certificate.
    """

    to: str
    precision: str = "fp32"
    dynamic_size: bool = False
    opset: int = LOWEST_OPSET
    calibration: Sequence[Any] = ()
    tolerance: float | None = None
    command: str = ""

    def __post_init__(self) -> None:
        """Raises SettingsError that lists everything that cannot be asked for."""
        problems = []
        target = TARGETS.get(self.to)
        if target is None:
            problems.append(f"there is no target {self.to!r}; there are {', '.join(TARGETS)}")
        elif self.precision not in target.precisions:
            problems.append(f"{self.to} is written in {', '.join(target.precisions)}, not in {self.precision}")
        if self.opset < LOWEST_OPSET:
            problems.append(f"the opset must be at least {LOWEST_OPSET}, not {self.opset}")
        if self.calibration and self.precision != "int8":
            problems.append(f"pictures to calibrate with are for int8, but the precision is {self.precision}")
        if self.tolerance is not None and not self.tolerance > 0:
            problems.append(f"the tolerance must be above 0, not {self.tolerance}")
        if problems:
            raise SettingsError("This cannot be exported: " + "; ".join(problems) + ".")
