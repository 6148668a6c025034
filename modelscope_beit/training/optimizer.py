"""Builds the optimizer, and reads and writes the rates of its groups. torch only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.optimizer import OptimizerSettings
from modelscope_beit.training.lamb import Lamb
from modelscope_beit.training.parameter_groups import parameter_groups

# Kinds with a fused kernel on processors and on GPUs, from torch 2.6 on.
_FUSED_KINDS = ("AdamW", "Adam", "SGD")


def build_optimizer(classifier: nn.Module, settings: OptimizerSettings, *, fused: bool) -> torch.optim.Optimizer:
    """Returns the optimizer of a network, over the groups of parameter_groups.

    fused: take the kernel that updates all parameters at once, where torch has one for this kind; the device must be
    a processor or a GPU. Raises SettingsError like parameter_groups.
    """
    options = dict(settings.options)
    if fused and settings.kind in _FUSED_KINDS:
        options["fused"] = True
    kind: Any = Lamb if settings.kind == "Lamb" else getattr(torch.optim, settings.kind)
    optimizer: torch.optim.Optimizer = kind(
        parameter_groups(classifier, settings), lr=settings.lr, weight_decay=settings.weight_decay, **options
    )
    return optimizer


def momenta_of(optimizer: torch.optim.Optimizer) -> list[float]:
    """Returns the momentum of each group: `momentum`, or the first of `betas`.

    Raises SettingsError if this kind of optimizer has neither, so that momentum_config has nothing to change.
    """
    if not {"momentum", "betas"} & optimizer.defaults.keys():
        raise SettingsError(
            f"train.momentum_config changes `momentum` or `betas`, but {type(optimizer).__name__} has neither; "
            "remove it or choose another train.optimizer.type, e.g. SGD or AdamW."
        )
    return [float(group["momentum"] if "momentum" in group else group["betas"][0]) for group in optimizer.param_groups]


def set_learning_rates(optimizer: torch.optim.Optimizer, learning_rates: Sequence[float]) -> None:
    """Gives each group its learning rate."""
    for group, learning_rate in zip(optimizer.param_groups, learning_rates, strict=True):
        group["lr"] = learning_rate


def set_momenta(optimizer: torch.optim.Optimizer, momenta: Sequence[float]) -> None:
    """Gives each group its momentum: `momentum`, or the first of `betas`."""
    for group, momentum in zip(optimizer.param_groups, momenta, strict=True):
        if "momentum" in group:
            group["momentum"] = momentum
        else:
            group["betas"] = (momentum, group["betas"][1])
