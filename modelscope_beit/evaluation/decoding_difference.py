"""What fast decoding costs: how far its pixels are from the exact ones, and how often the answer stays the same."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.errors import ImageError
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.fast_decoding import fast_transform
from modelscope_beit.model_folder.opening import OpenedModel

# Enough for a figure that means something, few enough to be looked at before every run.
PICTURES = 64


@dataclass(frozen=True)
class DecodingDifference:
    """What was found on some pictures.

    mean, largest: absolute difference of pixel values in levels of 255. within_one: the share of the values that are
    at most one level apart. agreement: the share of the pictures with the same best class; None: not asked.
    """

    pictures: int
    mean: float
    largest: float
    within_one: float
    agreement: float | None

    def __str__(self) -> str:
        said = (
            f"Fast decoding: in {self.pictures} pictures, values differ by {self.mean:.3f} of 255 in the mean, "
            f"{self.largest:.0f} at most, {self.within_one:.2%} by no more than one"
        )
        return said + ("." if self.agreement is None else f"; top-1 agreement {self.agreement:.1%}.")


def decoding_difference(
    model: OpenedModel, sources: Iterable[Any], *, with_answers: bool, pictures: int = PICTURES
) -> DecodingDifference | None:
    """Returns how the fast road differs from the exact one, by the first pictures that can be read; None without any.

    model: as it was opened. sources: whatever images/reading.py reads. with_answers: also ask the network, twice for
    each picture. Raises SettingsError if there is no fast way to make the model's steps.
    """
    levels = torch.tensor(fast_transform(model.settings.preprocessing).normalize.std)[:, None, None]
    seen: list[tuple[float, float, float]] = []
    agreeing: list[bool] = []
    for both in islice(_both_ways(model, sources), pictures):
        difference = ((both[0] - both[1]).abs() * levels).round()
        seen.append((float(difference.mean()), float(difference.max()), float((difference <= 1).float().mean())))
        if with_answers:
            agreeing.append(_agree(model, both))
    if not seen:
        return None
    means, largest, shares = zip(*seen, strict=True)
    agreement = float(np.mean(agreeing)) if with_answers else None
    return DecodingDifference(len(seen), float(np.mean(means)), max(largest), float(np.mean(shares)), agreement)


def _both_ways(model: OpenedModel, sources: Iterable[Any]) -> Iterator[Tensor]:
    """Yields (2, 3, H, W) of each picture that can be read: exact and fast."""
    fast = fast_transform(model.settings.preprocessing)
    for source in sources:
        try:
            yield torch.stack([model.transform(read_image(source)), fast(fast.read(source))])
        except ImageError:
            # Whoever predicts or evaluates says so.
            continue


@torch.inference_mode()
def _agree(model: OpenedModel, both: Tensor) -> bool:
    parameter = next(model.network.parameters(), both)
    exact, fast = model.network(both.to(parameter)).argmax(dim=1).tolist()
    return bool(exact == fast)
