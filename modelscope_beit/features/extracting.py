"""An opened model and labelled pictures -> one feature a picture; a picture that cannot be read costs its row only."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.data.batches import evaluation_batches
from modelscope_beit.data.records import Records
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.evaluation.readable import ForgivingTransform, forgiving, reasons
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.network.classifier import BeitClassifier, Classifier

POOLED, CLASS_TOKEN, MEAN = "pooled", "class_token", "mean"
FEATURES = (POOLED, CLASS_TOKEN, MEAN)


@dataclass(frozen=True)
class PictureFeatures:
    """Features of numbered pictures.

    features: (N, C) float32; NaN in the rows of pictures that could not be read.
    errors: row -> why it has no feature.
    """

    features: np.ndarray
    errors: dict[int, str]


def extract_features(
    model: OpenedModel,
    records: Records,
    *,
    feature: str = POOLED,
    batch_size: int = 32,
    workers: int = 2,
    on_batch: Callable[[int], None] | None = None,
) -> PictureFeatures:
    """Returns the features of all pictures, in their order, of the pixels that `pipeline` would see.

    feature: "pooled", what the head gets; "class_token" and "mean" (of the patch tokens), after the last block and
        with the network's final norm where it comes before the pooling; or the number of a block, from 0, for the
        mean of its patch tokens, not normalised.
    on_batch: called after each batch with the number of its pictures.
    Raises SettingsError for a feature that is none of these and for numbers that are too small, CheckpointError if a
    feature is not finite.
    """
    block = _check_network(model.network, feature)
    lowest = {"batch_size": (batch_size, 1), "workers": (workers, 0)}
    if problems := [
        f"{name} must be at least {low}, not {value}" for name, (value, low) in lowest.items() if value < low
    ]:
        raise SettingsError("; ".join(problems) + ".")
    rows: np.ndarray | None = None
    unreadable: list[int] = []
    for indices, is_readable, found in _batches(model, records, feature, block, batch_size, workers):
        if rows is None and len(found):
            rows = np.full((len(records), found.shape[1]), np.nan, np.float32)
        if rows is not None:
            rows[indices[is_readable]] = found
        unreadable += indices[~is_readable].tolist()
        if on_batch is not None:
            on_batch(len(indices))
    told = reasons(records, unreadable, model.transform)
    if rows is None:
        rows = np.full((len(records), 1), np.nan, np.float32)
    return PictureFeatures(rows, {row: why for row, (_, why) in zip(sorted(unreadable), told, strict=True)})


def check_feature(feature: str, *, depth: int) -> int | None:
    """Returns the number of the block that a feature is taken from, or None for those of the last one.

    depth: number of blocks. Raises SettingsError for what is no feature.
    """
    if feature in FEATURES:
        return None
    if feature.isdecimal() and int(feature) < depth:
        return int(feature)
    raise SettingsError(
        f"The feature is {feature!r}, but {', '.join(FEATURES)} or a block's number, 0 to {depth - 1}, is expected."
    )


def _check_network(network: Classifier, feature: str) -> int | None:
    """Returns what check_feature does; networks that others built give the pooled feature only."""
    if isinstance(network, BeitClassifier):
        return check_feature(feature, depth=len(network.backbone.blocks))
    if feature != POOLED:
        raise SettingsError(
            f"The feature is {feature!r}, but this network, which timm or mmcls built, gives {POOLED!r} only: what its "
            "head gets."
        )
    return None


def _batches(
    model: OpenedModel, records: Records, feature: str, block: int | None, batch_size: int, workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields rows (N,), which of them could be read (N,) and the features of these."""
    device = next(model.network.parameters()).device
    batches = evaluation_batches(
        forgiving(records),
        ForgivingTransform(model.transform),
        batch_size=batch_size,
        workers=workers,
        rank=0,
        world_size=1,
    )
    for batch in batches:
        is_readable = ~batch.images[:, 0, 0, 0].isnan()
        images = batch.images[is_readable].to(device, non_blocking=True)
        with torch.no_grad():
            found = _features(model.network, images, feature, block) if len(images) else images.new_zeros(0, 1)
        if not bool(found.isfinite().all()):
            raise CheckpointError(
                f"{model.folder}: the network gives features that are not finite, first among the pictures "
                f"{int(batch.indices[0])} to {int(batch.indices[-1])} of {records.description}. Its weights are bad."
            )
        yield batch.indices.numpy(), is_readable.numpy(), found.float().cpu().numpy()


def _features(network: Classifier, images: Tensor, feature: str, block: int | None) -> Tensor:
    """Returns (N, C) of images (N, 3, H, W)."""
    if feature == POOLED:
        return network.pooled(images)
    assert isinstance(network, BeitClassifier), "checked by _check_network"
    backbone = network.backbone
    if block is not None:
        return backbone.features(images, maps=[block]).maps[block].mean(dim=(2, 3))
    found = backbone.features(images)
    return found.class_token if feature == CLASS_TOKEN else found.patch_tokens.mean(dim=1)
