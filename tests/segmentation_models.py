"""Tiny BEiTs for semantic segmentation by transformers, random in every weight and statistic; the oracle of our own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modelscope_beit.model_folder.conversion import ConversionRequest
from modelscope_beit.model_folder.segmentation_conversion import convert_segmentation

LABELS = ("wall", "sky", "red fox, Vulpes vulpes", "中文", "floor")
SIDE, PATCH = 32, 4


def transformers_segmentation(**configuration: Any) -> nn.Module:
    """Returns transformers' model in eval mode: 4 blocks of width 32, 32 x 32 pixels in patches of 4, five classes."""
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    values = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": SIDE,
        "patch_size": PATCH,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: number for number, label in enumerate(LABELS)},
        "use_relative_position_bias": True,
        "out_indices": [1, 2, 3, 4],
        "auxiliary_channels": 8,
    } | configuration
    torch.manual_seed(0)
    model = transformers.BeitForSemanticSegmentation(transformers.BeitConfig(**values))
    with_random_statistics(model)
    return model.eval()


@torch.no_grad()
def with_random_statistics(model: nn.Module) -> None:
    """Changes every weight, and the running mean and variance of every batch norm, which then stays near 1."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.num_batches_tracked.fill_(7)


def write_transformers_folder(folder: Path, model: nn.Module, **processor: Any) -> Path:
    """Writes the folder that transformers leaves: config.json, model.safetensors, preprocessor_config.json."""
    import transformers

    model.save_pretrained(folder)
    values = {"size": {"height": SIDE, "width": SIDE}, "resample": 2} | processor
    transformers.BeitImageProcessorPil(**values).save_pretrained(folder)
    return folder


@torch.no_grad()
def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Returns the logits of transformers' model."""
    logits: Tensor = model(images).logits
    return logits


def write_our_folder(folder: Path, **configuration: Any) -> Path:
    """Writes what `beit convert` makes of such a model, and returns the folder; theirs lies beside it."""
    theirs = write_transformers_folder(folder.with_name("theirs"), transformers_segmentation(**configuration))
    convert_segmentation(theirs, folder, ConversionRequest())
    return folder
