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
from modelscope_beit.network.backbone import BeitBackbone

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
    block = check_feature(feature, depth=len(model.network.backbone.blocks))
    lowest = {"batch_size": (batch_size, 1), "workers": (workers, 0)}
    if problems := [
        f"{name} must be at least {low}, not {value}" for name, (value, low) in lowest.items() if value < low
    ]:
        raise SettingsError("; ".join(problems) + ".")
    rows = np.full((len(records), model.settings.model.backbone.width), np.nan, np.float32)
    unreadable: list[int] = []
    for indices, is_readable, found in _batches(model, records, feature, block, batch_size, workers):
        rows[indices[is_readable]] = found
        unreadable += indices[~is_readable].tolist()
        if on_batch is not None:
            on_batch(len(indices))
    told = reasons(records, unreadable, model.transform)
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


def _batches(
    model: OpenedModel, records: Records, feature: str, block: int | None, batch_size: int, workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields rows (N,), which of them could be read (N,) and the features of these."""
    backbone = model.network.backbone
    device = next(backbone.parameters()).device
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
            found = _features(backbone, images, feature, block) if len(images) else images.new_zeros(0, 1)
        if not bool(found.isfinite().all()):
            raise CheckpointError(
                f"{model.folder}: the network gives features that are not finite, first among the pictures "
                f"{int(batch.indices[0])} to {int(batch.indices[-1])} of {records.description}. Its weights are bad."
            )
        yield batch.indices.numpy(), is_readable.numpy(), found.float().cpu().numpy()


def _features(backbone: BeitBackbone, images: Tensor, feature: str, block: int | None) -> Tensor:
    """Returns (N, C) of images (N, 3, H, W)."""
    if feature == POOLED:
        pooled: Tensor = backbone(images)
        # A distilled network gives its head two tokens; timm's feature is their mean.
        return pooled.mean(dim=1) if pooled.ndim == 3 else pooled
    if block is not None:
        return backbone.features(images, maps=[block]).maps[block].mean(dim=(2, 3))
    found = backbone.features(images)
    return found.class_token if feature == CLASS_TOKEN else found.patch_tokens.mean(dim=1)
