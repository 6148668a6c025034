"""A head of zeros, whoever built the network: all classes are equally likely at first. torch only."""

import torch
from torch import nn

from modelscope_beit.errors import SettingsError


@torch.no_grad()
def zero_head(network: nn.Module, num_classes: int) -> tuple[str, ...]:
    """Sets the last layers of `network.head`, those with an output for each class, to zero; returns their names.

    A head for two tokens has two. Raises SettingsError if there is none.
    Source: BigTransfer (arXiv 1912.11370), section 3.3 and its bit_pytorch/models.py.
    """
    head = getattr(network, "head", nn.Module())
    layers = {
        f"head.{name}": layer
        for name, layer in head.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == num_classes
    }
    if not layers:
        raise SettingsError(
            f"train.head_init is 'zero', but the head of this network has no linear layer with {num_classes} outputs; "
            "remove it."
        )
    for layer in layers.values():
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return tuple(layers)
