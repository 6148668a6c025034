"""Runs a network over evaluation data and keeps what it answered; in any number of processes every picture once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from modelscope_beit.data.batches import Batch
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.evaluation.outcomes import Outcomes, joined

# How many of the best classes are kept for each picture.
TOP = 5
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class _Part(NamedTuple):
    """What one process has measured; strange: how many of its pictures got scores that are no numbers."""

    outcomes: Outcomes | None
    strange: int
    first_strange: int


def measure(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    class_names: Sequence[str],
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    temperature: float = 1.0,
    on_batch: Callable[[int], None] | None = None,
) -> Outcomes:
    """Returns what the network answers for all pictures of all processes, the same on each of them.

    network: images (N, 3, H, W) -> logits (N, K), on `device`: a classifier or its inference form. It is put into
        eval mode, and back afterwards.
    batches: this process's share of the pictures, as data/batches.py makes it; rows of weight 0 do not count. Labels
        with two dimensions make it multi-label data, and scores sigmoids instead of a softmax.
    class_names: K names; none: the class numbers stand for them.
    precision: "fp32", or "bf16" or "fp16" for autocast. Scores are computed in float64 from the logits and rounded to
        float32 once, as `pipeline` does, so both give the same answer.
    temperature: the logits are divided by it; of a calibrated folder, see settings/confidence.py.
    on_batch: called after each batch with the number of its pictures.
    Raises CheckpointError if scores are not finite, saying how many; SettingsError if a label is no class, if there
    is another number of names than classes, and if there are no pictures.
    """
    device = torch.device(device)
    parts: list[Outcomes] = []
    strange: list[int] = []
    autocast = torch.autocast(device.type, dtype=_DTYPES[precision], enabled=precision != "fp32")
    with _in_eval_mode(network), torch.no_grad(), autocast:
        for batch in batches:
            logits = network(batch.images.to(device, non_blocking=True))
            batch, logits = _counted(batch, logits)
            if len(logits) == 0:
                continue
            # Autocast's narrow types end here. Not every accelerator has float64.
            logits = (logits if device.type == "cuda" else logits.cpu()).double() / temperature
            is_finite = logits.isfinite().all(dim=1).cpu()
            strange += batch.indices[~is_finite].tolist()
            parts.append(_outcomes(logits, batch, class_names))
            if on_batch is not None:
                on_batch(len(batch.indices))
    own = _Part(joined(parts) if parts else None, len(strange), min(strange, default=-1))
    return _together(_gathered(own))


def _counted(batch: Batch, logits: Tensor) -> tuple[Batch, Tensor]:
    """Returns the rows that count. The others went through the network because all processes may have to at once."""
    counts = batch.weights > 0
    if counts.all():
        return batch, logits
    rows = {name: getattr(batch, name)[counts] for name in ("images", "labels", "indices", "weights")}
    return replace(batch, **rows), logits[counts.to(logits.device)]


def _outcomes(logits: Tensor, batch: Batch, class_names: Sequence[str]) -> Outcomes:
    num_classes = logits.shape[1]
    names = tuple(class_names) or tuple(str(number) for number in range(num_classes))
    if len(names) != num_classes:
        raise SettingsError(f"{len(names)} class names were given for a network of {num_classes} classes.")
    is_multi_label = batch.labels.ndim == 2
    _check_labels(batch, num_classes)
    scores = (logits.sigmoid() if is_multi_label else logits.softmax(dim=1)).float()
    top_classes = scores.argsort(dim=1, descending=True, stable=True)[:, :TOP]  # (N, t)
    label_scores, label_ranks = _places(scores, batch.labels.to(scores.device))
    return Outcomes(
        indices=_array(batch.indices, np.int64),
        labels=_array(batch.labels, np.int8 if is_multi_label else np.int64),
        top_classes=_array(top_classes, np.int32),
        top_scores=_array(scores.gather(1, top_classes), np.float32),
        label_scores=_array(label_scores, np.float32),
        label_ranks=_array(label_ranks, np.int32),
        class_names=names,
        scores=_array(scores, np.float32) if is_multi_label else None,
    )


def _places(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns score (N,) and rank (N,) of the right class, or of the best placed of several."""
    num_classes = scores.shape[1]
    if labels.ndim == 2:
        is_present = labels == 1
        # max gives the first of equal scores, which is the best placed.
        best, place = scores.masked_fill(~is_present, -1.0).max(dim=1)
        own_scores, ranks = _places(scores, place)
        has_none = best < 0
        return own_scores.masked_fill(has_none, 0.0), ranks.masked_fill(has_none, num_classes)
    own = scores.gather(1, labels[:, None])  # (N, 1)
    numbers = torch.arange(num_classes, device=scores.device)
    is_before = (scores > own) | ((scores == own) & (numbers < labels[:, None]))  # (N, K)
    return own.squeeze(1), is_before.sum(dim=1)


def _check_labels(batch: Batch, num_classes: int) -> None:
    labels = batch.labels
    if labels.ndim == 2:
        if labels.shape[1] != num_classes:
            raise SettingsError(
                f"The data give labels for {labels.shape[1]} classes, but the network has {num_classes} classes."
            )
        return
    is_wrong = (labels < 0) | (labels >= num_classes)
    if is_wrong.any():
        raise SettingsError(
            f"Expected labels from 0 to {num_classes - 1}, as the network has {num_classes} classes, but picture "
            f"{int(batch.indices[is_wrong][0])} of the data has the label {int(labels[is_wrong][0])}."
        )


def _gathered(own: _Part) -> list[_Part]:
    """Returns the parts of all processes, on all of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    parts: list[_Part | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    return [part for part in parts if part is not None]


def _together(parts: Sequence[_Part]) -> Outcomes:
    if strange := sum(part.strange for part in parts):
        first = min(part.first_strange for part in parts if part.strange)
        measured = sum(len(part.outcomes) for part in parts if part.outcomes is not None)
        raise CheckpointError(
            f"The network gives infinite scores or no numbers for {strange} of {measured} pictures, first for picture "
            f"{first} of the data. Its weights are damaged or training has diverged; in fp16, try bf16 or fp32."
        )
    return joined([part.outcomes for part in parts if part.outcomes is not None])


@contextmanager
def _in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Puts a network into eval mode, and every part of it back into its own mode afterwards."""
    was_training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        # Not network.train(): frozen parts stay in eval mode while the rest trains.
        for module in was_training:
            module.training = True


def _array(tensor: Tensor, dtype: type[np.generic]) -> np.ndarray:
    return tensor.cpu().numpy().astype(dtype)
