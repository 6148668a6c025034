"""Which precision is the fastest one that stays close to fp32: measured once on this machine, then remembered."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from modelscope_beit import __version__
from modelscope_beit.checkpoints.files import file_digest, write_atomically
from modelscope_beit.errors import CheckpointError
from modelscope_beit.model_folder.opening import find_weight_file
from modelscope_beit.network.classifier import BeitClassifier, Classifier
from modelscope_beit.network.int8_linear import Range
from modelscope_beit.network.precision import form_in

_logger = logging.getLogger(__name__)

# Largest root mean square of the difference of the logits, in parts of their spread.
LIMITS = {"fp32": 0.0, "bf16": 0.006, "fp16": 0.006, "int8": 0.025}
# What moves the answers must be worth it.
_GAIN = 1.1
_ROUNDS = 3
# More pictures a pass would only take longer.
_LARGEST_BATCH = 8


@dataclass(frozen=True)
class Question:
    """A network, pictures (3, H, W) to compare its answers on, and ranges for int8, if there are any."""

    network: Classifier
    pictures: tuple[Tensor, ...]
    ranges: Mapping[str, Range] | None = None


@dataclass(frozen=True)
class Measured:
    """What a precision gave.

    images_per_second: of the best pass. largest, rms: difference of a logit from fp32; spread: standard deviation of
    the logits in fp32. top1: share of pictures whose best class is that of fp32.
    """

    images_per_second: float
    largest: float
    rms: float
    spread: float
    top1: float


@dataclass(frozen=True)
class Choice:
    """precision: the chosen one. measured: all of them. num_pictures: that answers were compared on."""

    precision: str
    measured: dict[str, Measured]
    num_pictures: int

    def __str__(self) -> str:
        """Returns what was chosen, how much faster it is, and how far its answers are from those of fp32."""
        found, exact = self.measured[self.precision], self.measured["fp32"]
        told = ", ".join(f"{name} {one.images_per_second:.1f}" for name, one in self.measured.items())
        if self.precision == "fp32":
            return f"precision auto: fp32, which is exact; nothing is faster enough here ({told} images/s)"
        return (
            f"precision auto: {self.precision}, {found.images_per_second / exact.images_per_second:.2f} times as fast "
            f"as fp32 ({told} images/s); logits differ by at most {found.largest:.3g}, rms {found.rms:.2g} "
            f"({100 * found.rms / found.spread:.2g} % of their spread); the best class is the same for "
            f"{100 * found.top1:.0f} % of {self.num_pictures} pictures"
        )


def choose_precision(question: Question, folder: Path, *, batch_size: int) -> Choice:
    """Returns the fastest precision whose logits and best classes stay close to those of fp32.

    It is measured with passes of batch_size pictures, at most 8, and remembered for the same weights, processor and
    torch in a file of the user's cache folder, which may be deleted at any time.
    """
    batch_size = min(batch_size, _LARGEST_BATCH)
    file = cache_folder() / "precision" / f"{_key(question, folder, batch_size)}.json"
    choice = _remembered(file)
    if choice is None:
        choice = _measure(question, batch_size)
        _remember(file, choice)
    _logger.info("%s", choice)
    return choice


def cache_folder() -> Path:
    """Returns the folder for what may be deleted: XDG_CACHE_HOME or ~/.cache, and our name below it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelscope_beit"


def _measure(question: Question, batch_size: int) -> Choice:
    device = next(question.network.parameters()).device
    forms = _forms(question, device)
    same_size = [one for one in question.pictures if one.shape == question.pictures[0].shape]
    batch = torch.stack([same_size[number % len(same_size)] for number in range(batch_size)]).to(device)
    seconds = dict.fromkeys(forms, float("inf"))
    with torch.inference_mode():
        logits = {
            name: torch.cat([form(images.to(device)).cpu() for images in torch.stack(same_size).split(batch_size)])
            for name, form in forms.items()
        }
        for form in forms.values():
            form(batch)
        for _ in range(_ROUNDS):
            # In turns, so that a busy machine is busy for all.
            for name, form in forms.items():
                seconds[name] = min(seconds[name], _seconds(form, batch))
    measured = {name: _compared(logits[name], logits["fp32"], batch_size / one) for name, one in seconds.items()}
    return Choice(_best(measured), measured, len(same_size))


def _forms(question: Question, device: torch.device) -> dict[str, nn.Module]:
    forms = {}
    is_native_on_cpu = isinstance(question.network, BeitClassifier) and device.type == "cpu"
    for name in ("fp32", "bf16", "int8") if is_native_on_cpu else ("fp32", "bf16"):
        forms[name] = form_in(question.network, name, ranges=question.ranges)
    return forms


def _seconds(form: nn.Module, batch: Tensor) -> float:
    start = time.perf_counter()
    # Brought to the processor: a GPU has only then finished.
    form(batch).cpu()
    return time.perf_counter() - start


def _compared(found: Tensor, exact: Tensor, images_per_second: float) -> Measured:
    difference = (found - exact).double()
    return Measured(
        images_per_second=images_per_second,
        largest=float(difference.abs().max()),
        rms=float(difference.square().mean().sqrt()),
        spread=float(exact.double().std()),
        top1=float((found.argmax(dim=1) == exact.argmax(dim=1)).double().mean()),
    )


def _best(measured: Mapping[str, Measured]) -> str:
    """Returns the name of the fastest one that stays within its limit and keeps every best class."""
    best, least = "fp32", _GAIN * measured["fp32"].images_per_second
    for name, found in measured.items():
        is_close = found.rms <= LIMITS[name] * found.spread and found.top1 == 1
        if is_close and found.images_per_second > least:
            best, least = name, found.images_per_second
    return best


def _key(question: Question, folder: Path, batch_size: int) -> str:
    """Returns a name that differs wherever the answer might."""
    parameter = next(question.network.parameters())
    facts = [
        __version__,
        file_digest(find_weight_file(folder)),
        torch.__version__,
        _processor(),
        torch.cuda.get_device_name(parameter.device) if parameter.device.type == "cuda" else parameter.device.type,
        torch.get_num_threads(),
        batch_size,
        [[float(one.double().sum()), list(one.shape)] for one in question.pictures],
        None if question.ranges is None else sorted(question.ranges.items()),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kinds = {line.split(":", 1)[1] for line in lines if line.startswith(("model name", "flags"))}
    except OSError:
        kinds = {platform.processor(), platform.machine()}
    return "".join(sorted(kinds)) + torch.backends.cpu.get_cpu_capability()


def _remembered(file: Path) -> Choice | None:
    """Returns what was measured before; None if there is nothing, or nothing that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        measured = {name: Measured(**one) for name, one in content["measured"].items()}
        return Choice(_best(measured), measured, int(content["num_pictures"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.info("%s cannot be used (%s); it is measured again.", file, error)
        return None


def _remember(file: Path, choice: Choice) -> None:
    """Writes the choice as a whole or not at all, so that processes may do so at the same time."""
    text = json.dumps(asdict(choice), indent=2)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda beside: beside.write_text(text, encoding="utf-8"))
    except (OSError, CheckpointError) as error:
        _logger.info("What was measured cannot be remembered in %s: %s", file, error)
