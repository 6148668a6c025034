"""How a pipeline goes through many pictures: in order, in batches, with threads that read ahead."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.prediction.look_ahead import map_ahead

Prepared = TypeVar("Prepared")
Answer = TypeVar("Answer")

_DECODING_THREADS = min(8, os.cpu_count() or 1)


def answers(
    inputs: Iterable[Any],
    batch_size: int | None,
    prepare: Callable[[Any], Prepared],
    answer: Callable[[list[Prepared]], Iterable[Answer]],
) -> Iterator[Answer]:
    """Yields one answer for every input, in order.

    batch_size: inputs that are answered together, while threads prepare the next ones; None: one, and nothing is read
    ahead. Raises ImageError that names the place of a picture that cannot be read.
    """

    def prepare_numbered(numbered: tuple[int, Any]) -> Prepared:
        number, value = numbered
        try:
            return prepare(value)
        except ImageError as error:
            raise ImageError(f"Picture {number} of the input, counting from 0: {error}") from error

    if batch_size is None:
        for numbered in enumerate(inputs):
            yield from answer([prepare_numbered(numbered)])
        return
    ahead = 2 * batch_size
    prepared = map_ahead(prepare_numbered, enumerate(inputs), workers=_DECODING_THREADS, ahead=ahead)
    with closing(prepared):
        while batch := list(islice(prepared, batch_size)):
            yield from answer(batch)


def passes(images: Sequence[Tensor]) -> list[Tensor]:
    """Returns images (1, 3, H, W) as batches for the network; those of different sizes cannot share a pass."""
    return [torch.cat(list(images))] if len({image.shape for image in images}) == 1 else list(images)


def check_count(name: str, value: Any) -> None:
    """Raises SettingsError, naming the keyword, unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise SettingsError(f"{name} must be a whole number of at least 1, not {value!r}.")
