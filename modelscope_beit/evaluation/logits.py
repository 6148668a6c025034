"""An opened model and pictures -> its logits, all of them, in memory."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from modelscope_beit.data.batches import evaluation_batches
from modelscope_beit.data.records import Records
from modelscope_beit.errors import ImageError
from modelscope_beit.evaluation.of_records import LikePipeline
from modelscope_beit.evaluation.readable import ForgivingTransform, forgiving, readable_rows, reasons
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import OpenedModel


@dataclass(frozen=True, eq=False)
class PictureLogits:
    """What a network gives for N pictures.

    logits: (N, K) float32. labels: (N,) int64, or (N, K) of multi-label data: 1 present, 0 absent, -1 doubtful.
    unreadable: (picture, reason) of those that are not among them.
    """

    logits: np.ndarray
    labels: np.ndarray
    unreadable: list[tuple[str, str]]


def picture_logits(
    model: OpenedModel,
    records: Records,
    *,
    batch_size: int,
    workers: int,
    on_batch: Callable[[int], None] | None = None,
) -> PictureLogits:
    """Returns the logits of all pictures that can be read, in their order, without a temperature.

    records: with labels that count along the model's classes. workers: threads that decode. on_batch: called after each
    batch with the number of its pictures. Raises ImageError if no picture can be read.
    """
    network, device = LikePipeline(model.network), next(model.network.parameters()).device
    left_out: list[int] = []
    logits, labels = [], []
    batches = evaluation_batches(
        forgiving(records, read=read_image),
        ForgivingTransform(model.transform),
        batch_size=batch_size,
        workers=workers,
        rank=0,
        world_size=1,
    )
    with closing(batches), torch.inference_mode():
        for batch in readable_rows(batches, left_out):
            logits.append(network(batch.images.to(device)).float().cpu().numpy())
            labels.append(batch.labels.numpy())
            if on_batch is not None:
                on_batch(len(batch.labels))
    if not logits:
        raise ImageError(f"None of the {len(records):,} pictures of {records.description} can be read.")
    truth = np.concatenate(labels)
    return PictureLogits(
        np.concatenate(logits),
        truth.astype(np.int8 if truth.ndim == 2 else np.int64),
        reasons(records, left_out, model.transform),
    )
