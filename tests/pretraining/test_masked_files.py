"""Files of unilm's layout, made here by hand, into our network and back; and what does not fit."""

import argparse
import re

import pytest
import torch
from torch import Tensor

import helpers
from masked_runs import tiny_masked
from modelscope_beit.errors import CheckpointError
from modelscope_beit.pretraining.masked_files import (
    from_unilm,
    masked_content,
    open_masked_model,
    settings_of,
    to_unilm,
)
from modelscope_beit.pretraining.masked_model import MaskedPretrainingModel, build_masked_model
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings

BLOCK = {
    "norm1.weight": ("C",), "norm1.bias": ("C",), "norm2.weight": ("C",), "norm2.bias": ("C",),
    "gamma_1": ("C",), "gamma_2": ("C",), "attn.q_bias": ("C",), "attn.v_bias": ("C",), "attn.qkv.weight": ("3C", "C"),
    "attn.proj.weight": ("C", "C"), "attn.proj.bias": ("C",), "mlp.fc1.weight": ("4C", "C"), "mlp.fc1.bias": ("4C",),
    "mlp.fc2.weight": ("C", "4C"), "mlp.fc2.bias": ("C",),
}  # fmt: skip


def released_shapes(
    width: int, depth: int, heads: int, side: int, patch: int, codes: int
) -> dict[str, tuple[int, ...]]:
    """Returns key -> shape of unilm's masked-image files, as its own program prints them."""
    sizes = {"C": width, "3C": 3 * width, "4C": 4 * width}
    patches = (side // patch) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "mask_token": (1, 1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "rel_pos_bias.relative_position_bias_table": ((2 * side // patch - 1) ** 2 + 3, heads),
        "rel_pos_bias.relative_position_index": (patches + 1, patches + 1),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "lm_head.weight": (codes, width),
        "lm_head.bias": (codes,),
    }
    names = [*(f"blocks.{number}" for number in range(depth)), "cls_pt_layers.0", "cls_pt_layers.1"]
    return shapes | {f"{name}.{key}": tuple(map(sizes.get, kind)) for name in names for key, kind in BLOCK.items()}


@pytest.fixture
def released() -> dict[str, Tensor]:
    """A small file as unilm would write it: 2 heads, 4 x 4 patches of 8 pixels, 24 codes."""
    generator = torch.Generator().manual_seed(0)
    shapes = released_shapes(16, 3, 2, 32, 8, 24)
    tensors = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    tensors["rel_pos_bias.relative_position_index"] = torch.zeros(17, 17, dtype=torch.int64)
    return tensors


def test_to_unilm__base_has_the_keys_and_shapes_of_the_released_files():
    with torch.device("meta"):
        network = MaskedPretrainingModel(MaskedPretrainingSettings())
    written = {key: tuple(tensor.shape) for key, tensor in to_unilm(network).items()}
    assert written == released_shapes(768, 12, 12, 224, 16, 8192)
    assert len(written) == 220


@pytest.mark.parametrize("wrapper", ["model", "module", None])
def test_open_masked_model__loads_a_released_file_strictly(released, tmp_path, wrapper):
    namespace = {"args": argparse.Namespace(model="beit_base_patch16_224_8k_vocab_cls_pt"), "epoch": 299}
    torch.save(released if wrapper is None else {wrapper: released, **namespace}, tmp_path / "released.pth")
    network = open_masked_model(tmp_path / "released.pth")
    settings = network.pretraining
    backbone = settings.model.backbone
    assert (backbone.image_size, backbone.patch_size, backbone.num_heads, backbone.depth) == ((32, 32), 8, 2, 3)
    assert (settings.head_layers, settings.model.num_visual_tokens, settings.early_layer) == (2, 24, 1)
    for key, tensor in to_unilm(network).items():
        if not key.endswith("index"):
            assert torch.equal(tensor, released[key]), key
    logits = network(torch.zeros(1, 3, 32, 32), torch.arange(16)[None] < 6)
    assert logits.shape == (2, 1, 6, 24) and bool(logits.isfinite().all())


def test_masked_content__is_read_back_with_what_weights_do_not_tell(tmp_path):
    settings = tiny_masked(drop_path=0.2)
    network = helpers.with_random_weights(build_masked_model(settings))
    torch.save(masked_content(network), tmp_path / "ours.pth")
    again = open_masked_model(tmp_path / "ours.pth")
    assert again.pretraining == settings
    expected = network.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in again.state_dict().items())
    with torch.no_grad():
        again.mask_token.add_(1)
    assert not torch.equal(open_masked_model(tmp_path / "ours.pth").mask_token, again.mask_token)


def test_settings_of__a_model_without_patch_aggregation(released):
    first = {key: tensor for key, tensor in released.items() if not key.startswith("cls_pt_layers")}
    assert settings_of(first).head_layers == 0


def test_from_unilm__leaves_no_index(released):
    assert from_unilm(released).keys() == MaskedPretrainingModel(settings_of(released)).state_dict().keys()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.pop("blocks.1.attn.v_bias"), "missing: backbone.blocks.1.attn.v_bias"),
        (lambda file: file.update({"cls_pt_norm.weight": torch.ones(16)}), "unexpected: .*cls_pt_norm.weight"),
        (
            lambda file: file.update({"cls_pt_layers.1.gamma_1": torch.ones(9)}),
            r"wrongly shaped: cls_pt_layers.1.gamma_1 is \(9,\), expected \(16,\)",
        ),
    ],
    ids=["missing", "unexpected", "wrongly shaped"],
)
def test_open_masked_model__files_that_do_not_fit(released, tmp_path, change, told):
    change(released)
    torch.save({"model": released}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=told) as error:
        open_masked_model(tmp_path / "other.pth")
    assert str(tmp_path / "other.pth") in str(error.value)


def test_open_masked_model__a_classifier_is_none(released, tmp_path):
    classifier = {key: tensor for key, tensor in released.items() if key not in ("mask_token", "norm.weight")}
    torch.save(classifier, tmp_path / "classifier.pth")
    with pytest.raises(CheckpointError, match=re.escape("mask_token, norm.weight are not among the")):
        open_masked_model(tmp_path / "classifier.pth")


def test_open_masked_model__other_settings_than_the_files(released, tmp_path):
    torch.save({"model": released}, tmp_path / "released.pth")
    with pytest.raises(CheckpointError, match=r"mask_token is \(1, 1, 16\), expected \(1, 1, 32\)"):
        open_masked_model(tmp_path / "released.pth", tiny_masked())
