"""How fast, how large and how exact each form of a model is here: each in a process of its own, in turns."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.errors import BeitError, SettingsError
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.precision import form_in
from modelscope_beit.network.process_memory import peak_resident_mib
from modelscope_beit.prediction.answering import answering_model, shipped_pictures
from modelscope_beit.prediction.form_choice import Choice
from modelscope_beit.settings.inference import AUTO, InferenceSettings

# One slow moment of the machine then costs each form the same, and the median does not see it.
TURNS = 3
EXACT = InferenceSettings()
# Is told the name of a form, and what it does next.
OnStep = Callable[[str, str], None]


@dataclass(frozen=True)
class Passes:
    """Passes with batches of one size. seconds: of each pass; by_turn: images per second of each turn."""

    seconds: tuple[float, ...]
    by_turn: tuple[float, ...]

    @property
    def images_per_second(self) -> float:
        """The median of the turns."""
        return statistics.median(self.by_turn)

    def latency(self, percent: float) -> float:
        """Returns the seconds that so many of a hundred passes did not exceed."""
        return float(np.percentile(self.seconds, percent))


@dataclass
class FormSpeed:
    """A form and what was measured.

    refusal: why it does not run here; then there is nothing else. passes: by batch size, ascending. peak_mib: of its
    process, from its start. largest, rms: difference of a logit from those of fp32 by torch, over all classes of the
    pictures that come with the package; spread: standard deviation of the latter; top1: share of equal best classes.
    """

    wanted: InferenceSettings
    refusal: str | None = None
    passes: dict[int, Passes] = field(default_factory=dict)
    peak_mib: int | None = None
    largest: float = 0.0
    rms: float = 0.0
    spread: float = 0.0
    top1: float = 1.0


@dataclass(frozen=True)
class _Ready:
    """What a form's process says first: its logits (N, K) of the pictures, or why it cannot."""

    logits: np.ndarray | None
    refusal: str | None = None


def measure_forms(
    folder: Path,
    forms: Sequence[InferenceSettings],
    *,
    batch_sizes: Sequence[int],
    seconds: float,
    trust_remote_code: bool = False,
    on_step: OnStep = lambda form, step: None,
) -> list[FormSpeed]:
    """Returns what each form of a model gives on this processor, fp32 by torch first: the others are compared with it.

    folder: a model folder. seconds: for each form and batch size, in three turns. on_step: told which form does what.
    Only one form computes at a time, and all forms take turns, so that a busy machine is busy for all.
    Raises SettingsError for batch sizes or seconds below what can be measured, and what fp32 raises when it is opened.
    """
    if not batch_sizes or min(batch_sizes) < 1 or not seconds > 0:
        raise SettingsError(
            f"Batch sizes must be at least 1 and seconds above 0, not {list(batch_sizes)} and {seconds}."
        )
    found = [FormSpeed(one) for one in dict.fromkeys([EXACT, *forms])]
    with ExitStack() as children:
        lines: dict[int, Connection] = {}
        exact: np.ndarray | None = None
        for number, form in enumerate(found):
            on_step(name_of(form.wanted), "gets ready")
            line = children.enter_context(_process(folder, form.wanted, trust_remote_code))
            ready: _Ready = _received(line)
            form.refusal = ready.refusal
            if ready.logits is not None:
                exact = ready.logits if exact is None else exact
                _compare(form, ready.logits, exact)
                lines[number] = line
            elif form.wanted == EXACT:
                raise SettingsError(f"The model does not answer in fp32 by torch: {ready.refusal}")
        for batch_size in sorted(set(batch_sizes)):
            _take_turns(found, lines, batch_size, seconds / TURNS, on_step)
    return found


def name_of(wanted: InferenceSettings) -> str:
    """Returns how a form is called in tables, such as "openvino int8"."""
    return f"{wanted.backend} {wanted.precision}"


def choices_of_auto(model: OpenedModel, batch_sizes: Sequence[int]) -> dict[int, Choice]:
    """Returns what "auto" takes, as precision and backend, for each batch size; measured now unless remembered."""
    choices: dict[int, Choice] = {}
    for batch_size in sorted(set(batch_sizes)):

        def note(choice: Choice, batch_size: int = batch_size) -> None:
            choices[batch_size] = choice

        answering_model(model, InferenceSettings(AUTO, AUTO), batch_size=batch_size, on_choice=note)
    return choices


def _take_turns(
    found: Sequence[FormSpeed],
    lines: dict[int, Connection],
    batch_size: int,
    seconds: float,
    on_step: OnStep,
) -> None:
    taken: dict[int, list[tuple[float, ...]]] = {number: [] for number in lines}
    for turn in range(TURNS):
        for number, line in lines.items():
            on_step(name_of(found[number].wanted), f"batches of {batch_size}, turn {turn + 1} of {TURNS}")
            line.send((batch_size, seconds))
            times, found[number].peak_mib = _received(line)
            taken[number].append(times)
    for number, turns in taken.items():
        by_turn = tuple(batch_size * len(times) / sum(times) for times in turns)
        found[number].passes[batch_size] = Passes(tuple(one for times in turns for one in times), by_turn)


@contextmanager
def _process(folder: Path, wanted: InferenceSettings, trust_remote_code: bool) -> Iterator[Connection]:
    """A process that has opened a form of the model, and answers on the line that is given."""
    # Not forked: threads of torch do not survive that, and memory would be shared with this process.
    context = multiprocessing.get_context("spawn")
    line, its_line = context.Pipe()
    process = context.Process(target=_serve, args=(its_line, folder, wanted, trust_remote_code), daemon=True)
    process.start()
    its_line.close()
    try:
        yield line
    finally:
        # It ends when nobody is left to ask it.
        line.close()
        process.join()


def _received(line: Connection) -> Any:
    """Returns what the process at the other end has sent: _Ready first, then (seconds of each pass, peak in MiB)."""
    try:
        return line.recv()
    except EOFError as error:
        raise BeitError("A process that measured ended before it answered; there may be too little memory.") from error


def _serve(line: Connection, folder: Path, wanted: InferenceSettings, trust_remote_code: bool) -> None:
    """Opens the form, says how it answers, then makes passes whenever it is told to."""
    try:
        model = open_model(folder, trust_remote_code=trust_remote_code)
        pictures = _pictures(model)
        # As prediction does.
        network = form_in(answering_model(model, wanted, batch_size=1).network, "fp32", in_place=True)
        with torch.inference_mode():
            logits = torch.cat([network(one[None]) for one in pictures])
    except BeitError as error:
        line.send(_Ready(None, str(error)))
        return
    line.send(_Ready(logits.float().numpy()))
    while True:
        try:
            batch_size, seconds = line.recv()
        except EOFError:
            return
        batch = torch.stack([pictures[number % len(pictures)] for number in range(batch_size)])
        line.send((_times(network, batch, seconds), peak_resident_mib()))


def _pictures(model: OpenedModel) -> list[Tensor]:
    """Returns pixels (3, H, W) of the pictures that come with the package, those that have the size of the first."""
    pixels = [model.transform(read_image(path)) for path in shipped_pictures()]
    return [one for one in pixels if one.shape == pixels[0].shape]


@torch.inference_mode()
def _times(network: torch.nn.Module, batch: Tensor, seconds: float) -> tuple[float, ...]:
    """Returns the seconds of each pass, at least one, after one that is not counted."""
    network(batch)
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        network(batch)
        times.append(time.perf_counter() - start)
    return tuple(times)


def _compare(form: FormSpeed, logits: np.ndarray, exact: np.ndarray) -> None:
    difference = (logits - exact).astype(np.float64)
    form.largest, form.rms = float(abs(difference).max()), float(np.sqrt(np.square(difference).mean()))
    form.spread = float(exact.astype(np.float64).std())
    form.top1 = float((logits.argmax(1) == exact.argmax(1)).mean())
