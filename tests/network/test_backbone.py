"""Oracles: transformers' BEiT for attention weights and maps; the settings' own promises for freezing."""

from typing import Any

import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.backbone import BeitBackbone
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings

SMALL = {"image_size": (32, 32), "width": 32, "depth": 3, "num_heads": 4, "mlp_hidden": 64}


def backbone(family: Any = "beitv2", **choices: object) -> BeitBackbone:
    torch.manual_seed(0)
    network = build_classifier(model_settings(family, "base", num_classes=4, **(SMALL | choices))).backbone
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def test_features__agree_with_forward_and_say_what_each_block_saw() -> None:
    network = backbone().eval()
    images = torch.randn(2, 3, 32, 48)
    features = network.features(images, maps=(0, 2), attention=(1,))
    torch.testing.assert_close(features.pooled, network(images))
    assert features.class_token.shape == (2, 32) and features.patch_tokens.shape == (2, 6, 32)
    assert {number: tuple(m.shape) for number, m in features.maps.items()} == {0: (2, 32, 2, 3), 2: (2, 32, 2, 3)}
    torch.testing.assert_close(features.maps[2].flatten(2).transpose(1, 2), features.patch_tokens)
    torch.testing.assert_close(features.attention[1].sum(-1), torch.ones(2, 4, 7))


def test_features__distillation_token_is_no_patch() -> None:
    network = backbone("vit", distilled=True, pooling="two_tokens").eval()
    images = torch.randn(2, 3, 32, 48)
    features = network.features(images, maps=(2,), attention=(0,))
    torch.testing.assert_close(features.pooled, network(images))
    torch.testing.assert_close(features.pooled[:, 0], features.class_token)
    assert features.pooled.shape == (2, 2, 32) and features.patch_tokens.shape == (2, 6, 32)
    assert features.attention[0].shape == (2, 4, 8, 8)
    torch.testing.assert_close(network.norm(features.maps[2].flatten(2).transpose(1, 2)), features.patch_tokens)


def test_features__unknown_block_is_an_error() -> None:
    with pytest.raises(SettingsError, match="0 to 2"):
        backbone().features(torch.zeros(1, 3, 32, 32), maps=(3,))


def test_maps__are_those_of_features_and_run_no_block_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    network = backbone().eval()
    images = torch.randn(2, 3, 32, 48)
    expected = network.features(images, maps=(0, 1)).maps
    embedded, _ = network.embed(images)
    monkeypatch.setattr(network.blocks[2], "forward", None)
    first, entering, second = network.maps(images, (0, -1, 1))
    torch.testing.assert_close([first, second], [expected[0], expected[1]])
    torch.testing.assert_close(entering.flatten(2).transpose(1, 2), embedded[:, 1:])


def test_maps__unknown_block_is_an_error() -> None:
    with pytest.raises(SettingsError, match="0 to 2.*-2, 3"):
        backbone().maps(torch.zeros(1, 3, 32, 32), (3, 0, -2))


def test_pool__class_token_is_no_part_of_the_mean() -> None:
    network = backbone().eval()
    tokens = torch.randn(1, 5, 32)
    changed = tokens.clone()
    changed[:, 0] = 1e6
    torch.testing.assert_close(network.pool(tokens), network.pool(changed))


def test_frozen_stages__freeze_embedding_tokens_and_first_blocks() -> None:
    network = backbone(frozen_stages=1, absolute_position=True, drop_path=0.5).train()
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.q_bias"} <= frozen
    assert not any(name.startswith(("blocks.1", "blocks.2", "fc_norm")) for name in frozen)
    assert not network.blocks[0].training and network.blocks[1].training


def test_frozen_stages__freeze_the_distillation_token() -> None:
    network = backbone("vit", distilled=True, frozen_stages=0)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {"cls_token", "dist_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}


def test_train__returns_the_backbone() -> None:
    network = backbone()
    assert network.train().eval() is network  # the stock backbone's train() returns None


def test_gradient_checkpointing__gives_the_same_gradients() -> None:
    images = torch.randn(2, 3, 32, 32)
    gradients = []
    for checkpointing in (False, True):
        network = backbone(gradient_checkpointing=checkpointing).train()
        network(images).square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and bool(gradient.any()), name
        torch.testing.assert_close(gradient, gradients[1][name])


def test_autocast__stays_near_full_precision() -> None:
    network = backbone().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = network(images)
    torch.testing.assert_close(low.float(), network(images).detach(), atol=0.1, rtol=0.1)
