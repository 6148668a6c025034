"""From a stream of pictures to a stream of predictions: threads decode while the network runs.

The order is kept, memory is bounded by the batch, and a picture that cannot be read costs its own row only.
"""

import os
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from modelscope_beit.data.batches import PictureTransform
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.fast_transform import FastTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.fast_decoding import fast_decoding
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.network.precision import form_in
from modelscope_beit.prediction.classifying import classify, top_classes
from modelscope_beit.prediction.look_ahead import map_ahead
from modelscope_beit.prediction.sources import printable

_NOT_FINITE = "The network's scores are not finite numbers: its weights, or its precision, are broken."


@dataclass(frozen=True)
class Prediction:
    """What the network says of one picture: the best classes, best first, or why there are none.

    source: the path or URL; of a picture that has neither, its place in the stream, "#0" being the first.
    labels, scores: names and probabilities of the best classes; both empty if there is an error.
    is_unknown: whether the picture is of none of the classes, by the threshold of `beit calibrate`; the labels are then
    only the nearest ones. None if the model was not calibrated, or if there is an error.
    """

    source: str
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    error: str | None = None
    is_unknown: bool | None = None


@dataclass(frozen=True)
class _Picture:
    """A picture on its way: its name, and pixels (3, H, W) or the reason why there are none."""

    source: str
    pixels: torch.Tensor | None
    error: str | None = None


def predict_stream(
    model: OpenedModel,
    sources: Iterable[Any],
    *,
    batch_size: int = 32,
    workers: int | None = None,
    topk: int = 5,
    fast_decode: bool = False,
) -> Generator[Prediction, None, None]:
    """Returns an iterator over the predictions of all pictures, in their order.

    model: its network is brought into its fast form, in place: it answers the same, with other weights.
    sources: whatever images/reading.py reads; taken a little ahead of the predictions, never as a whole.
    batch_size: pictures per pass through the network. At most two batches and a picture per worker exist at a time.
    workers: decoding threads; None: one per processor, at most 8. The network's own threads are torch's.
    topk: classes told per picture, at most all.
    fast_decode: the pixels may be off a little; see images/fast_transform.py. They are bytes until the network.
    Raises SettingsError at once for a number below 1, or if the model's steps have no fast way. Closing the iterator
    ends the threads; an error of the sources' own iterator reaches the caller.
    """
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    numbers = {"batch_size": batch_size, "workers": workers, "topk": topk}
    problems = [f"{name} must be at least 1, not {value}" for name, value in numbers.items() if value < 1]
    if problems:
        raise SettingsError("; ".join(problems) + ".")
    return _predictions(fast_decoding(model) if fast_decode else model, sources, batch_size, workers, topk)


def _predictions(
    model: OpenedModel, sources: Iterable[Any], batch_size: int, workers: int, topk: int
) -> Generator[Prediction, None, None]:
    fast_form = form_in(model.network, "fp32", in_place=True)

    def prepare(numbered: tuple[int, Any]) -> _Picture:
        return _prepare(*numbered, model.transform)

    with closing(map_ahead(prepare, enumerate(sources), workers=workers, ahead=batch_size + workers)) as pictures:
        # No name for the batch, so that its pixels are gone before the next one is gathered.
        while predictions := _classify(model, fast_form, list(islice(pictures, batch_size)), topk):
            yield from predictions


def _prepare(number: int, source: Any, transform: PictureTransform) -> _Picture:
    if isinstance(source, dict):
        source = source.get("image")
    name = printable(os.fspath(source)) if isinstance(source, str | os.PathLike) else f"#{number}"
    try:
        picture = transform.read(source) if isinstance(transform, FastTransform) else read_image(source)
        return _Picture(name, transform(picture))
    except ImageError as error:
        # The row names the picture already.
        return _Picture(name, None, printable(str(error)).removeprefix(f"{name}: "))


def _classify(model: OpenedModel, fast_form: nn.Module, batch: list[_Picture], topk: int) -> list[Prediction]:
    """Predictions of one batch. Pictures of equal size share a pass; without a crop their sizes differ."""
    by_size: dict[torch.Size, list[int]] = {}
    predictions = [Prediction(picture.source, error=picture.error) for picture in batch]
    for place, picture in enumerate(batch):
        if picture.pixels is not None:
            by_size.setdefault(picture.pixels.shape, []).append(place)
    for size, places in by_size.items():
        images = torch.stack([pixels for place in places if (pixels := batch[place].pixels) is not None])
        # The fast form has one size only; the classifier itself interpolates its positions.
        fits = size[1:] == model.network.settings.image_size
        try:
            answers = classify(fast_form if fits else model.network, images, model.confidence)
        except ImageError as error:
            for place in places:
                predictions[place] = replace(predictions[place], error=str(error))
            continue
        best = top_classes(answers.probabilities, model.class_names, topk)
        for place, (labels, scores), is_unknown in zip(places, best, answers.are_unknown, strict=True):
            source = predictions[place].source
            if np.isfinite(scores).all():
                told = Prediction(source, labels, tuple(scores.tolist()), is_unknown=is_unknown)
            else:
                told = Prediction(source, error=_NOT_FINITE)
            predictions[place] = told
    return predictions
