"""An opened model -> the same one, answering in the precision and by the backend that a person has asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelscope_beit.errors import SettingsError
from modelscope_beit.export.opening import ExportedNetwork, open_model_or_export
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.network.classifier import BeitClassifier, Classifier
from modelscope_beit.network.inference_form import InferenceForm, inference_form
from modelscope_beit.network.int8_linear import Range, measure_ranges
from modelscope_beit.network.precision import ClassifierInForm, form_in
from modelscope_beit.prediction.backends import installed_runtimes, session_network
from modelscope_beit.prediction.form_choice import Choice, Form, Question, choose_form
from modelscope_beit.prediction.sources import expand_sources
from modelscope_beit.settings.inference import AUTO, PRECISIONS_BY, TORCH, InferenceSettings

# So many pictures of a larger set are used to calibrate: a few hundred are enough for the ends of a range.
MOST_TO_CALIBRATE = 256
_BATCH = 8
# Twice as slow with the ranges of each pass as with fixed ones. ONNX Runtime is the faster for it, and closer to fp32.
_NEEDS_RANGES = "openvino"

# A picture, as images.reading takes it -> (3, H, W).
Prepare = Callable[[Any], Tensor]


def answering_model(
    model: OpenedModel, wanted: InferenceSettings, *, batch_size: int, on_choice: Callable[[Choice], None] | None = None
) -> OpenedModel:
    """Returns the model with a network that answers as is wanted; for fp32 by torch, which is exact, as it is.

    batch_size: pictures per pass that "auto" measures with. on_choice: told what "auto" has chosen, and why.
    Raises SettingsError if the network cannot answer like that, MissingPackageError without the backend's package.
    """
    if wanted == InferenceSettings():
        return model
    network = answering_network(
        model.network,
        wanted,
        lambda source: model.transform(read_image(source)),
        folder=model.folder,
        batch_size=batch_size,
        on_choice=on_choice,
    )
    return replace(model, network=network)


def open_answering(
    folder: Path, wanted: InferenceSettings, *, batch_size: int, device: str = "cpu", trust_remote_code: bool = False
) -> OpenedModel:
    """Returns the model of a model folder or an exported one, answering as is wanted. Raises as both steps do."""
    model = open_model_or_export(folder, device=device, trust_remote_code=trust_remote_code)
    return answering_model(model, wanted, batch_size=batch_size)


def answering_network(
    network: Classifier,
    wanted: InferenceSettings,
    prepare: Prepare,
    *,
    folder: Path,
    batch_size: int,
    on_choice: Callable[[Choice], None] | None = None,
) -> Classifier:
    """Returns a network that answers as is wanted; see answering_model.

    prepare: gives the pixels (3, H, W) of a picture, normalised. folder: of the network, whose digest "auto" goes by.
    """
    if isinstance(network, ExportedNetwork):
        raise SettingsError("An exported network has its precision and its backend from the export; export it again.")
    ranges = _ranges(network, wanted.calibration, prepare) if wanted.backend in (TORCH, AUTO) else None

    def form(precision: str, backend: str) -> Form:
        if backend == TORCH:
            return Form(precision, backend, partial(form_in, network, precision, ranges=ranges))
        return Form(precision, backend, partial(_in_runtime, network, precision, backend, wanted.calibration, prepare))

    if not wanted.is_a_choice:
        return ClassifierInForm(network, form(wanted.precision, wanted.backend).build())
    exact, others = form("fp32", TORCH), tuple(form(*one) for one in _combinations(wanted))
    pictures = tuple(_pixels(wanted.calibration or shipped_pictures(), prepare))
    question = Question(network, pictures, wanted.precision, exact, others, ranges)
    choice = choose_form(question, folder, batch_size=batch_size)
    if on_choice is not None:
        on_choice(choice)
    chosen = next(one for one in (exact, *others) if one.name == choice.form)
    return ClassifierInForm(network, chosen.build())


def _combinations(wanted: InferenceSettings) -> Iterator[tuple[str, str]]:
    """Yields the precisions and backends to choose among beside fp32 by torch; some may not be for this network."""
    for backend in [TORCH, *installed_runtimes()] if wanted.backend == AUTO else [wanted.backend]:
        # float16 is for GPUs that have no bfloat16: nobody who leaves the choice needs it.
        tried = [one for one in PRECISIONS_BY[backend] if one != "fp16"]
        for precision in tried if wanted.precision == AUTO else [wanted.precision]:
            if precision in PRECISIONS_BY[backend] and (precision, backend) != ("fp32", TORCH):
                yield precision, backend


def _in_runtime(
    network: Classifier, precision: str, backend: str, calibration: str | Sequence[Any], prepare: Prepare
) -> Classifier:
    if precision != "int8":
        return session_network(network, backend, precision)
    if backend == _NEEDS_RANGES:
        calibration = calibration or shipped_pictures()
    return session_network(network, backend, precision, [one.numpy() for one in _pixels(calibration, prepare)])


def shipped_pictures() -> list[Path]:
    """Returns the pictures that come with the package: twenty small ones, of garments."""
    return sorted((find_model_folder() / "pictures").glob("*.png"))


def _ranges(network: Classifier, calibration: str | Sequence[Any], prepare: Prepare) -> dict[str, Range] | None:
    # Others, and those on a GPU, refuse int8 by torch themselves.
    on_processor = all(weight.device.type == "cpu" for weight in network.parameters())
    if not calibration or not isinstance(network, BeitClassifier) or not on_processor:
        return None
    exact = inference_form(network)
    assert isinstance(exact, InferenceForm)
    return measure_ranges(exact, _batches(_pixels(calibration, prepare)))


def _pixels(sources: str | Sequence[Any], prepare: Prepare) -> Iterator[Tensor]:
    """Yields the pixels of a part of the sources; folders among them give their pictures."""
    for source in islice(_expanded(sources), MOST_TO_CALIBRATE):
        yield prepare(source)


def _expanded(sources: str | Sequence[Any]) -> Iterator[Any]:
    for source in [sources] if isinstance(sources, str | Path) else sources:
        if isinstance(source, str | Path):
            yield from expand_sources([str(source)])
        else:
            yield source


def _batches(pixels: Iterator[Tensor]) -> Iterator[Tensor]:
    # Without a crop among the steps, pictures keep sizes of their own.
    waiting: list[Tensor] = []
    for one in pixels:
        if waiting and one.shape != waiting[0].shape:
            yield torch.stack(waiting)
            waiting = []
        waiting.append(one)
        if len(waiting) == _BATCH:
            yield torch.stack(waiting)
            waiting = []
    if waiting:
        yield torch.stack(waiting)
