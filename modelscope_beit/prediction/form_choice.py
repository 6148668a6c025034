"""Which form of a network is the fastest that stays close to fp32: measured once on this machine, then remembered."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from modelscope_beit import __version__
from modelscope_beit.checkpoints.files import file_digest, write_atomically
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.export.runtimes import runtime_version
from modelscope_beit.model_folder.opening import find_weight_file
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.network.int8_linear import Range
from modelscope_beit.settings.inference import AUTO, TORCH

_logger = logging.getLogger(__name__)

# Largest root mean square of the difference of the logits, in parts of their spread; of fp32 it is rounding.
LIMITS = {"fp32": 1e-4, "bf16": 0.006, "fp16": 0.006, "int8": 0.025}
# What moves the answers, or takes time to start, must be worth it.
_GAIN = 1.1
_ROUNDS = 3
# Threads of other runtimes that wait for work by spinning have gone to sleep by then.
_PAUSE = 0.1
# Seconds of a turn; at least one pass.
_TURN = 0.05
# More pictures a pass would only take longer.
_LARGEST_BATCH = 8


@dataclass(frozen=True)
class Form:
    """A way to answer: a precision and what runs it. build: gives the network in it, (N, 3, H, W) -> logits (N, K)."""

    precision: str
    backend: str
    build: Callable[[], nn.Module]

    @property
    def name(self) -> str:
        """Returns how it is called, such as "int8" or "fp32 by openvino"."""
        return self.precision if self.backend == TORCH else f"{self.precision} by {self.backend}"


@dataclass(frozen=True)
class Question:
    """A network, pictures (3, H, W) to compare its answers on, and the forms to choose among.

    precision: the wanted one; with "auto" a form must stay close to fp32. exact: fp32 by torch. forms: all others.
    ranges: those of int8 by torch, if there are any.
    """

    network: Classifier
    pictures: tuple[Tensor, ...]
    precision: str
    exact: Form
    forms: tuple[Form, ...]
    ranges: Mapping[str, Range] | None = None


@dataclass(frozen=True)
class Measured:
    """What a form gave.

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
    """form: the name of the chosen one. measured: all, by name. num_pictures: that answers were compared on."""

    form: str
    measured: dict[str, Measured]
    num_pictures: int

    def __str__(self) -> str:
        """Returns what was chosen, how much faster it is, and how far its answers are from those of fp32."""
        found, exact = self.measured[self.form], self.measured["fp32"]
        told = ", ".join(f"{name} {one.images_per_second:.1f}" for name, one in self.measured.items())
        if self.form == "fp32":
            return f"auto: fp32 by torch, which is exact; nothing is faster enough here ({told} images/s)"
        return (
            f"auto: {self.form}, {found.images_per_second / exact.images_per_second:.2f} times as fast "
            f"as fp32 by torch ({told} images/s); logits differ by at most {found.largest:.3g}, rms {found.rms:.2g} "
            f"({100 * found.rms / (found.spread or 1):.2g} % of their spread); the best class is the same for "
            f"{100 * found.top1:.0f} % of {self.num_pictures} pictures"
        )


def choose_form(question: Question, folder: Path, *, batch_size: int) -> Choice:
    """Returns the fastest form; of several precisions, whose logits and best classes stay close to those of fp32.

    It is measured with passes of batch_size pictures, at most 8, and remembered for the same weights, processor and
    torch in a file of the user's cache folder, which may be deleted at any time.
    """
    batch_size = min(batch_size, _LARGEST_BATCH)
    file = cache_folder() / "form" / f"{_key(question, folder, batch_size)}.json"
    choice = _remembered(file, question.precision)
    if choice is None:
        choice = _measure(question, batch_size)
        _remember(file, choice)
    _logger.info("%s", choice)
    return choice


def cache_folder() -> Path:
    """Returns the folder for what may be deleted: XDG_CACHE_HOME or ~/.cache, and our name below it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelscope_beit"


@torch.inference_mode()
def _measure(question: Question, batch_size: int) -> Choice:
    device = next(question.network.parameters()).device
    same_size = [one for one in question.pictures if one.shape == question.pictures[0].shape]
    batch = torch.stack([same_size[number % len(same_size)] for number in range(batch_size)]).to(device)

    def logits_of(form: nn.Module) -> Tensor:
        return torch.cat([form(images.to(device)).cpu() for images in torch.stack(same_size).split(batch_size)])

    exact = question.exact.build()
    wanted, fastest_exact = logits_of(exact), _seconds(exact, batch)
    measured: dict[str, Measured] = {}
    for form in question.forms:
        # Built one at a time: two copies of a network fit where five do not.
        try:
            network = form.build()
        except SettingsError as error:
            _logger.info("%s is not for this network: %s", form.name, error)
            continue
        found, (seconds, of_exact) = logits_of(network), _seconds_beside(network, exact, batch)
        fastest_exact = min(fastest_exact, of_exact)
        measured[form.name] = _compared(found, wanted, batch_size / seconds)
        # Before the next one is built: a name would keep it.
        del network
    measured = {question.exact.name: _compared(wanted, wanted, batch_size / fastest_exact)} | measured
    return Choice(_best(measured, question.precision), measured, len(same_size))


def _seconds_beside(network: nn.Module, exact: nn.Module, batch: Tensor) -> tuple[float, float]:
    """Returns the seconds of a form and of the exact one, in turns: a machine is seldom busy for all of them."""
    seconds = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for place, one in enumerate((network, exact)):
            time.sleep(_PAUSE)
            seconds[place] = min(seconds[place], _seconds(one, batch))
    return seconds[0], seconds[1]


def _seconds(form: nn.Module, batch: Tensor) -> float:
    """Returns the seconds of the fastest pass of a turn. Of a small network it is the first ones that wake threads."""
    fastest, end = float("inf"), time.perf_counter() + _TURN
    while time.perf_counter() < end:
        start = time.perf_counter()
        # Brought to the processor: a GPU has only then finished.
        form(batch).cpu()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _compared(found: Tensor, exact: Tensor, images_per_second: float) -> Measured:
    difference = (found - exact).double()
    return Measured(
        images_per_second=images_per_second,
        largest=float(difference.abs().max()),
        rms=float(difference.square().mean().sqrt()),
        spread=float(exact.double().std()),
        top1=float((found.argmax(dim=1) == exact.argmax(dim=1)).double().mean()),
    )


def _best(measured: Mapping[str, Measured], precision: str) -> str:
    """Returns the name of the fastest form of a precision; with "auto", of those that stay within their limits."""
    if precision not in (AUTO, "fp32"):
        names = [name for name in measured if name.split()[0] == precision]
        if not names:
            raise SettingsError(f"Nothing that is installed here runs this network in {precision}.")
        return max(names, key=lambda name: measured[name].images_per_second)
    best, least = "fp32", _GAIN * measured["fp32"].images_per_second
    for name, found in measured.items():
        is_close = found.rms <= LIMITS[name.split()[0]] * found.spread and found.top1 == 1
        if is_close and found.images_per_second > least:
            best, least = name, found.images_per_second
    return best


def _key(question: Question, folder: Path, batch_size: int) -> str:
    """Returns a name that differs wherever the answer might."""
    parameter = next(question.network.parameters())
    facts = [
        __version__,
        file_digest(find_weight_file(folder)),
        repr(question.network.settings),
        torch.__version__,
        _processor(),
        torch.cuda.get_device_name(parameter.device) if parameter.device.type == "cuda" else parameter.device.type,
        torch.get_num_threads(),
        batch_size,
        [question.precision, *(form.name for form in question.forms)],
        _runtimes(question),
        [[float(one.double().sum()), list(one.shape)] for one in question.pictures],
        None if question.ranges is None else sorted(question.ranges.items()),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _runtimes(question: Question) -> dict[str, str]:
    return {form.backend: runtime_version(form.backend) for form in question.forms if form.backend != TORCH}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kinds = {line.split(":", 1)[1] for line in lines if line.startswith(("model name", "flags"))}
    except OSError:
        kinds = {platform.processor(), platform.machine()}
    return "".join(sorted(kinds)) + torch.backends.cpu.get_cpu_capability()


def _remembered(file: Path, precision: str) -> Choice | None:
    """Returns what was measured before; None if there is nothing, or nothing that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        measured = {name: Measured(**one) for name, one in content["measured"].items()}
        return Choice(_best(measured, precision), measured, int(content["num_pictures"]))
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
