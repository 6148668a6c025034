"""Small networks of other libraries with random weights, and the files that their programs leave."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import helpers

SIZES = {"width": 128, "depth": 2, "heads": 2, "hidden": 192, "side": 64, "classes": 5}

MakeModel = Callable[..., nn.Module]


@pytest.fixture
def pictures() -> Tensor:
    """Two pictures of noise (2, 3, 64, 64), as after normalisation."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def logits(pictures: Tensor) -> Callable[[nn.Module], Tensor]:
    """A function that gives any library's logits of `pictures`."""

    @torch.no_grad()
    def run(model: nn.Module, images: Tensor = pictures) -> Tensor:
        output: Any = model.eval()(images)
        return output if isinstance(output, Tensor) else output.logits

    return run


@pytest.fixture
def timm_model() -> MakeModel:
    """A function that makes a small timm model out of an architecture's name and more arguments."""
    timm = pytest.importorskip("timm", reason="the oracle of these tests is timm")

    def make(name: str, **arguments: Any) -> nn.Module:
        arguments = {
            "img_size": SIZES["side"],
            "embed_dim": SIZES["width"],
            "depth": SIZES["depth"],
            "num_heads": SIZES["heads"],
            "num_classes": SIZES["classes"],
            "mlp_ratio": SIZES["hidden"] / SIZES["width"],
        } | arguments
        return helpers.with_random_weights(timm.create_model(name, **arguments)).eval()

    return make


@pytest.fixture
def transformers_model() -> MakeModel:
    """A function that makes a small transformers model out of its class's name and more of its configuration."""
    transformers = pytest.importorskip("transformers", reason="the oracle of these tests is transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    def make(name: str, **configuration: Any) -> nn.Module:
        kind = getattr(transformers, name)
        configuration = {
            "hidden_size": SIZES["width"],
            "num_hidden_layers": SIZES["depth"],
            "num_attention_heads": SIZES["heads"],
            "intermediate_size": SIZES["hidden"],
            "image_size": SIZES["side"],
            "num_labels": SIZES["classes"],
            "layer_norm_eps": 1e-6,
        } | configuration
        if name.startswith("Beit"):
            configuration = {"vocab_size": 11, "use_relative_position_bias": True} | configuration
        return helpers.with_random_weights(kind(kind.config_class(**configuration))).eval()

    return make


@pytest.fixture
def unilm_state(timm_model: MakeModel) -> dict[str, Tensor]:
    """The keys of unilm's BEiT v2 classifier: timm's and the index buffers that unilm saves."""
    state = dict(timm_model("beitv2_base_patch16_224").state_dict())
    for number in range(SIZES["depth"]):
        state[f"blocks.{number}.attn.relative_position_index"] = torch.zeros(17, 17, dtype=torch.long)
    return state


@pytest.fixture
def masked_image_state(timm_model: MakeModel) -> dict[str, Tensor]:
    """The keys of unilm's masked-image model as listed in its modeling_pretrain.py, with two extra blocks."""
    model = timm_model("beitv2_base_patch16_224", use_rel_pos_bias=False, use_shared_rel_pos_bias=True)
    state = {key: value for key, value in model.state_dict().items() if not key.startswith(("head.", "fc_norm."))}
    for number in range(2):
        state |= {
            key.replace("blocks.0.", f"cls_pt_layers.{number}."): value
            for key, value in state.items()
            if key.startswith("blocks.0.")
        }
    width = SIZES["width"]
    return state | {
        "mask_token": torch.randn(1, 1, width),
        "norm.weight": torch.randn(width),
        "norm.bias": torch.randn(width),
        "lm_head.weight": torch.randn(11, width),
        "lm_head.bias": torch.randn(11),
        "rel_pos_bias.relative_position_index": torch.zeros(17, 17, dtype=torch.long),
    }


@pytest.fixture
def unilm_file(tmp_path: Path, unilm_state: dict[str, Tensor]) -> Path:
    """A training checkpoint of unilm: the weights under `model`, its arguments in a Namespace, optimiser and epoch."""
    path = tmp_path / "beitv2_tiny_patch16_64_ft1k.pth"
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}
    arguments = argparse.Namespace(model="beit_tiny", lr=5e-4, betas=(0.9, 0.999))
    torch.save({"model": unilm_state, "optimizer": optimizer, "epoch": 99, "args": arguments}, path)
    return path
