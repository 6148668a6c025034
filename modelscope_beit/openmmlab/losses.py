"""A loss of mmcls on a network of ours. Imported only where mmcls is; see installed.py."""

from collections.abc import Callable

import torch
from mmcls.models.builder import build_loss as build_mmcls_loss
from torch import Tensor

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.losses import ForeignLoss


def build_foreign_loss(settings: ForeignLoss) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a function of logits (N, K) and targets, class numbers (N,) or shares (N, K), to losses (N,).

    Raises SettingsError with what mmcls said if it cannot build the loss.
    """
    try:
        loss: torch.nn.Module = build_mmcls_loss(dict(settings.config))
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise SettingsError(f"model.mm_model.head.loss cannot be built by mmcls: {error}") from error
    for part in loss.modules():
        if isinstance(getattr(part, "reduction", None), str):
            part.reduction = "none"  # type: ignore[assignment]

    def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
        losses: Tensor = loss.to(logits.device)(logits.float(), targets)
        return losses.flatten(1).sum(dim=1) if losses.ndim > 1 else losses

    return losses_of
