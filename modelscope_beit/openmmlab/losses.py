"""Losses of mmcls, one number a sample. Imported only where mmcls is; see installed.py."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmcls.models.builder import LOSSES
from mmcls.models.builder import build_loss as build_mmcls_loss
from torch import Tensor, nn

from modelscope_beit.errors import SettingsError, TrainingError
from modelscope_beit.settings.losses import ForeignLoss


class ForeignLossFunction(nn.Module):
    """A loss of mmcls on a network of ours; SeesawLoss counts the classes that it has seen, which is its state."""

    def __init__(self, settings: ForeignLoss, num_classes: int) -> None:
        super().__init__()
        try:
            self.loss: nn.Module = build_mmcls_loss(with_class_count(settings.config, num_classes))
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            raise SettingsError(f"model.mm_model.head.loss cannot be built by mmcls: {error}") from error
        self.has_mean_over_classes = give_losses_of_samples(self.loss)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns losses (N,) of logits (N, K) and class numbers (N,) or shares (N, K).

        Raises TrainingError with what mmcls said if it cannot compute the loss.
        """
        try:
            losses = self.loss.to(logits.device)(logits.float(), targets)
        except (TypeError, ValueError, AssertionError, IndexError) as error:
            raise TrainingError(
                f"mmcls cannot compute model.mm_model.head.loss ({type(self.loss).__name__}) of targets "
                f"{tuple(targets.shape)}: {type(error).__name__}: {error}. Mixed samples have shares of classes for "
                "targets, pictures with several labels one number for each class; not every loss takes these."
            ) from error
        return losses_of_samples(losses, len(logits), has_mean_over_classes=self.has_mean_over_classes)


def with_class_count(config: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """Returns a loss's configuration for a head of so many classes, if the loss wants to know that."""
    kind = config.get("type")
    loss = LOSSES.get(kind) if isinstance(kind, str) else None
    if loss is None or "num_classes" not in inspect.signature(loss).parameters:
        return dict(config)
    return {**config, "num_classes": num_classes}


def give_losses_of_samples(losses: nn.Module) -> bool:
    """Makes losses of mmcls, and those in them, give one number a sample or class: short batches, and those that are
    spread over processes, are weighted by our loop. Losses of others keep their mean.

    Returns whether the losses of the K classes of a sample are to be averaged, not added up: mmcls's heads divide by N
    for reduction "mean", and take the mean of all numbers for whatever else there comes.
    Raises SettingsError for "sum", which stops mmcls too.
    """
    parts = [part for part in losses.modules() if isinstance(getattr(part, "reduction", None), str)]
    parts = [part for part in parts if any(kind.__module__.startswith("mmcls.") for kind in type(part).__mro__)]
    if not parts:
        return True
    # LabelSmoothLoss passes its own word on to nobody: that of the loss within it counts.
    word = parts[-1].reduction
    if word == "sum":
        raise SettingsError(
            "model.mm_model.head.loss.reduction is 'sum', but 'mean' or 'none' is expected: mmcls's heads divide by "
            "the number of samples, which it refuses for a sum."
        )
    for part in parts:
        part.reduction = "none"  # type: ignore[assignment]
    return bool(word == "none")


def losses_of_samples(losses: object, num_samples: int, *, has_mean_over_classes: bool) -> Tensor:
    """Returns (N,) of what a loss gave: numbers of samples (N,), of their classes (N, K), or a mean of all.

    A list of such is added up, as mmcls does.
    """
    if isinstance(losses, list | tuple):
        parts = [losses_of_samples(part, num_samples, has_mean_over_classes=has_mean_over_classes) for part in losses]
        return torch.stack(parts).sum(dim=0)
    assert isinstance(losses, Tensor), f"losses are tensors, not {type(losses).__name__}"
    if losses.ndim == 0:
        # Losses of mmcls's users need not know `reduction`.
        return losses.expand(num_samples)
    losses = losses.flatten(1) if losses.ndim > 1 else losses[:, None]  # (N, K)
    return losses.mean(dim=1) if has_mean_over_classes else losses.sum(dim=1)
