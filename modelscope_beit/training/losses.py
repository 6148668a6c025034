"""Losses: logits and targets to one number per sample. torch only.

Per sample, so that a short last batch, a padded one and a batch spread over processes count every sample alike. The
mean over a batch is what mmcls's head makes of it. Source: mmcls 0.25.0, models/losses and models/heads/cls_head.py.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.errors import SettingsError
from modelscope_beit.openmmlab.installed import require_mmcls
from modelscope_beit.settings.losses import (
    BALANCED,
    AsymmetricLoss,
    CrossEntropyLoss,
    FocalLoss,
    ForeignLoss,
    LabelSmoothLoss,
    LossSettings,
)

# logits (N, K), targets (N,) class numbers or (N, K) shares of classes -> (N,)
LossFunction = Callable[[Tensor, Tensor], Tensor]


def build_loss(
    settings: LossSettings,
    num_classes: int,
    class_counts: Sequence[int] | Tensor | None = None,
    *,
    is_multi_label: bool = False,
) -> LossFunction:
    """Returns a function of logits (N, K) and targets that gives the loss of each sample, (N,) float32.

    Targets are class numbers (N,), or (N, K): the shares of the classes in a mixed picture, or 1 for each class of a
    multi-label picture, -1 where that is doubtful, which counts as 1. The loss is computed in float32 whatever the
    logits are.
    class_counts: (K,) training samples of each class, for class_weight "balanced".
    Raises SettingsError if weights are not one for each class, if "balanced" has no counts, if smoothing leaves the
    right class less than the others, or if the loss has one right class per picture in mind and the data have several.
    A loss of mmcls is an nn.Module: it may have a state.
    """
    if is_multi_label:
        refuse_single_label_loss(settings)
    if isinstance(settings, LabelSmoothLoss):
        elements = _smoothed(settings, num_classes)
    elif isinstance(settings, CrossEntropyLoss):
        elements = _cross_entropy(settings, num_classes, class_counts)
    elif isinstance(settings, FocalLoss):
        elements = _focal(settings)
    elif isinstance(settings, ForeignLoss):
        require_mmcls(f"for the loss {settings.config['type']}")
        # mmcls is an extra.
        from modelscope_beit.openmmlab.losses import ForeignLossFunction

        return ForeignLossFunction(settings, num_classes)
    else:
        elements = _asymmetric(settings)
    has_mean_over_classes = getattr(settings, "reduction", "mean") == "none"

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        assert logits.shape[1] == num_classes, f"logits {tuple(logits.shape)} for {num_classes} classes"
        losses = elements(logits.float(), targets)  # (N,) or (N, K)
        if losses.ndim == 2:
            losses = losses.mean(dim=1) if has_mean_over_classes else losses.sum(dim=1)
        return settings.loss_weight * losses

    return loss


def balanced_weights(class_counts: Sequence[int] | Tensor) -> Tensor:
    """Returns weights (K,) that make all classes count alike: samples / (classes that occur * samples of the class).

    A class without samples gets 1. Source: scikit-learn's compute_class_weight("balanced").
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    occurs = counts > 0
    weights = counts.sum() / (occurs.sum() * counts.clamp(min=1))
    return torch.where(occurs, weights, 1.0).float()


def _cross_entropy(
    settings: CrossEntropyLoss, num_classes: int, class_counts: Sequence[int] | Tensor | None
) -> LossFunction:
    weight = class_factors(settings.class_weight, num_classes, class_counts)
    if not settings.use_sigmoid:

        def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(logits, _float_if_soft(targets), weight=_beside(weight, logits), reduction="none")

        return cross_entropy
    pos_weight = _factors(settings.pos_weight, num_classes, "pos_weight")

    def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits,
            _per_class(targets, logits),
            weight=_beside(weight, logits),
            pos_weight=_beside(pos_weight, logits),
            reduction="none",
        )

    return binary_cross_entropy


def _smoothed(settings: LabelSmoothLoss, num_classes: int) -> LossFunction:
    smoothing = settings.label_smooth_val
    if settings.mode == "classy_vision":
        smoothing = smoothing / (1 + smoothing)
    elif settings.mode == "mindspore":
        smoothing = _spread_over_all(smoothing, num_classes)

    def smoothed_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, _float_if_soft(targets), label_smoothing=smoothing, reduction="none")

    def smoothed_binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        smoothed = torch.where(_per_class(targets, logits) > 0, 1 - smoothing, smoothing)
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")

    return smoothed_binary_cross_entropy if settings.mode == "multi_label" else smoothed_cross_entropy


def _spread_over_all(smoothing: float, num_classes: int) -> float:
    """Returns the smoothing that gives each of all K classes what this one gives each of the K - 1 others."""
    spread = smoothing * num_classes / max(1, num_classes - 1)
    if spread > 1:
        raise SettingsError(
            f"LabelSmoothLoss with mode 'mindspore' shares label_smooth_val, {smoothing:g}, among the "
            f"{num_classes - 1} other classes, and each of them would get more than the right one; set it to at most "
            f"{(num_classes - 1) / num_classes:g}."
        )
    return spread


def _focal(settings: FocalLoss) -> LossFunction:
    def focal(logits: Tensor, targets: Tensor) -> Tensor:
        targets = _per_class(targets, logits)
        probabilities = logits.sigmoid()
        miss = (1 - probabilities) * targets + probabilities * (1 - targets)
        weight = (settings.alpha * targets + (1 - settings.alpha) * (1 - targets)) * _power(miss, settings.gamma)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight

    return focal


def _asymmetric(settings: AsymmetricLoss) -> LossFunction:
    def asymmetric(logits: Tensor, targets: Tensor) -> Tensor:
        targets = _per_class(targets, logits)
        probabilities = logits.sigmoid() if settings.use_sigmoid else logits.softmax(dim=1)
        absent = (1 - probabilities + settings.clip).clamp(max=1)
        right = absent * (1 - targets) + probabilities * targets
        exponent = settings.gamma_pos * targets + settings.gamma_neg * (1 - targets)
        return -right.clamp(min=settings.eps).log() * _power(1 - right, exponent)

    return asymmetric


def _power(base: Tensor, exponent: Tensor | float) -> Tensor:
    """Returns the power of a number from 0 to 1; with exponents below 1 the slope at 0 is infinite, and left out."""
    return base.clamp(min=torch.finfo(base.dtype).tiny).pow(exponent)


def _per_class(targets: Tensor, logits: Tensor) -> Tensor:
    """Returns targets as (N, K) float beside the logits."""
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1])
    return targets.to(logits).abs()


def _float_if_soft(targets: Tensor) -> Tensor:
    return targets.float() if targets.ndim == 2 else targets


def _beside(factors: Tensor | None, logits: Tensor) -> Tensor | None:
    return None if factors is None else factors.to(logits.device)


def class_factors(
    wanted: tuple[float, ...] | str | None, num_classes: int, class_counts: Sequence[int] | Tensor | None
) -> Tensor | None:
    """Returns the weights (K,) of the classes that a loss asks for: its own ones, or "balanced".

    class_counts: (K,) training samples of each class. Raises SettingsError if either is not one for each class.
    """
    if wanted != BALANCED:
        assert not isinstance(wanted, str), f"the reader lets no other word pass than {BALANCED!r}"
        return _factors(wanted, num_classes, "class_weight")
    if class_counts is None or len(class_counts) != num_classes:
        counted = "no counts" if class_counts is None else f"counts of {len(class_counts)} classes"
        raise SettingsError(
            f"class_weight 'balanced' needs the number of training pictures of each of the {num_classes} classes, but "
            f"the training data give {counted}. Give the weights themselves, as a list of {num_classes} numbers."
        )
    return balanced_weights(class_counts)


def _factors(values: tuple[float, ...] | None, num_classes: int, name: str) -> Tensor | None:
    if values is None:
        return None
    if len(values) != num_classes:
        raise SettingsError(
            f"The loss's {name} has {len(values)} numbers, but the network's head has {num_classes} classes; "
            "give one number for each class, in their order."
        )
    return torch.tensor(values, dtype=torch.float32)


def refuse_single_label_loss(settings: LossSettings) -> None:
    """Raises SettingsError for a loss that has one right class per picture in mind."""
    is_softmax_cross_entropy = isinstance(settings, CrossEntropyLoss) and not settings.use_sigmoid
    if is_softmax_cross_entropy or isinstance(settings, LabelSmoothLoss) and settings.mode != "multi_label":
        raise SettingsError(
            f"{type(settings).__name__} as it is set expects one right class per picture, but the training data have "
            "several. Set model.mm_model.head.loss to {'type': 'CrossEntropyLoss', 'use_sigmoid': True}, to "
            "LabelSmoothLoss with mode 'multi_label', to AsymmetricLoss or to FocalLoss."
        )
