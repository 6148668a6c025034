"""Small convolutional networks of timm with random weights, and the folders that timm itself writes of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import helpers

BIT = "resnetv2_50x1_bit"
# Group norm with 32 groups needs multiples of 32 everywhere. 0.2 M weights instead of 23.5 M.
TINY_BIT: dict[str, Any] = {"channels": [32, 32, 32, 32], "stem_chs": 32, "bottle_ratio": 1.0}
CLASSES = ["cat", "dog", "red fox"]


def timm_network(name: str = BIT, num_classes: int = len(CLASSES), **arguments: Any) -> Any:
    """Returns timm's own network in eval mode; every weight and every statistic matters."""
    timm = pytest.importorskip("timm", reason="the networks of these tests are timm's")
    network: nn.Module = helpers.with_random_weights(
        timm.create_model(name, num_classes=num_classes, **(TINY_BIT if name == BIT else {}) | arguments)
    )
    if not network.pretrained_cfg["fixed_input_size"]:
        # Quicker than what it is published for.
        network.pretrained_cfg |= {"input_size": (3, 64, 64)}
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def write_timm_folder(network: Any, folder: Path, **config: Any) -> Path:
    """Writes a folder as timm's own program does that sends it to the hub; config: what is said otherwise there."""
    timm = pytest.importorskip("timm", reason="the networks of these tests are timm's")
    names = CLASSES if network.num_classes == len(CLASSES) else None
    content = {"label_names": names} if names else {}
    timm.models.save_for_hf(network, str(folder), model_config=content | config, safe_serialization=True)
    return folder
