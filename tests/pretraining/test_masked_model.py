"""The network against the algorithm written down once more, and against unilm's published numbers."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import helpers
from masked_reference import reference_loss
from modelscope_beit.errors import ImageError
from modelscope_beit.pretraining.masked_files import to_unilm
from modelscope_beit.pretraining.masked_model import (
    MaskedPretrainingModel,
    build_masked_model,
    hidden_patches,
)
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.masked_pretraining import (
    MaskedPretrainingSettings,
    MaskingSettings,
    masked_pretraining_settings,
)
from modelscope_beit.settings.model import BackboneSettings

# Pictures of 24 x 32 pixels, 3 x 4 patches of 8: rows are not columns.
TINY = MaskedPretrainingSettings(
    MaskedImageModelSettings(
        BackboneSettings(
            image_size=(24, 32),
            patch_size=8,
            width=16,
            depth=3,
            num_heads=2,
            mlp_hidden=24,
            relative_position="shared",
            pooling="class_token",
        ),
        num_visual_tokens=11,
    ),
    early_layer=2,
    masking=MaskingSettings(num_masked=5, min_block=2),
)


@pytest.fixture
def network() -> MaskedPretrainingModel:
    return helpers.with_random_weights(build_masked_model(TINY)).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def mask() -> Tensor:
    mask = torch.zeros(2, 12, dtype=torch.bool)
    mask[0, [0, 1, 5, 10, 11]] = True
    mask[1, [2, 3, 6, 7, 8]] = True
    return mask


def test_forward__loss_and_gradients_equal_the_algorithm_in_float64(network, images, mask):
    codes = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(4))
    network.double()
    logits = network(images.double(), mask)
    loss = sum(F.cross_entropy(scores.flatten(0, 1), codes.flatten()) for scores in logits)
    loss.backward()
    leaves = {
        key: tensor.clone().requires_grad_() for key, tensor in to_unilm(network).items() if tensor.is_floating_point()
    }
    expected = sum(
        reference_loss(
            leaves,
            image.double(),
            hidden.nonzero().flatten().tolist(),
            row.tolist(),
            patch=8,
            num_heads=2,
            early_layer=2,
        )
        for image, hidden, row in zip(images, mask, codes, strict=True)
    )
    expected = expected / 2
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    found = {name.removeprefix("backbone."): weight.grad for name, weight in network.named_parameters()}
    assert found.keys() == leaves.keys()
    for name, leaf in leaves.items():
        assert leaf.grad is not None and bool(leaf.grad.abs().sum() > 0), name
        assert torch.allclose(found[name], leaf.grad, rtol=0, atol=1e-12), name


def test_forward__finds_the_hidden_patches_itself(network, images, mask):
    hidden = torch.tensor([[0, 1, 5, 10, 11], [2, 3, 6, 7, 8]])
    assert torch.equal(hidden_patches(mask), hidden)
    assert torch.equal(network(images, mask), network(images, mask, hidden))


def test_forward__what_is_hidden_does_not_matter(network, images, mask):
    before = network(images, mask)
    changed = images.clone()
    changed[0, :, :8, :16] = 7  # patches 0 and 1
    assert torch.equal(network(changed, mask), before)


def test_forward__the_second_guess_sees_late_blocks_through_the_class_token_only(network, images, mask):
    """With the last block's class token as it was, what that block does to patches changes the first guess only."""
    before = network(images, mask)
    last = network.backbone.blocks[-1]

    def change_patches(module, arguments, tokens):
        return torch.cat([tokens[:, :1], tokens[:, 1:] + torch.arange(16.0)], dim=1)

    with_change = last.register_forward_hook(change_patches)
    after = network(images, mask)
    with_change.remove()
    assert not torch.allclose(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_forward__without_extra_blocks_there_is_one_guess(images, mask):
    network = build_masked_model(replace(TINY, head_layers=0))
    assert network(images, mask).shape == (1, 2, 5, 11)


def test_forward__every_weight_learns(network, images, mask):
    network.train()(images, mask).square().mean().backward()
    assert all(bool(weight.grad.abs().sum() > 0) for weight in network.parameters())


def test_forward__masks_that_do_not_fit(network, images):
    with pytest.raises(ImageError, match=r"3x4 patches; got .*\(2, 11\)"):
        network(images, torch.zeros(2, 11, dtype=torch.bool))


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (MaskedPretrainingSettings(), 106_143_056),
        (masked_pretraining_settings("large"), 336_728_512),
        (MaskedPretrainingSettings(head_layers=0), 91_965_776),
    ],
    ids=["base", "large", "base without patch aggregation"],
)
def test_network__has_the_published_number_of_parameters(settings, count):
    with torch.device("meta"):
        network = MaskedPretrainingModel(settings)
    assert sum(weight.numel() for weight in network.parameters()) == count


def test_network__drops_paths_on_one_ladder():
    settings = masked_pretraining_settings("base", drop_path=0.1)
    with torch.device("meta"):
        network = MaskedPretrainingModel(settings)
    # 0 at the first of twelve blocks, 0.1 at the last; the extra ones go on after block 9 (from 1).
    assert [block.drop_path for block in network.backbone.blocks] == pytest.approx([n / 110 for n in range(12)])
    assert [block.drop_path for block in network.cls_pt_layers] == pytest.approx([9 / 110, 10 / 110])


def with_few_codes(**backbone) -> MaskedPretrainingSettings:
    """The published base but for the number of codes, and what is said."""
    settings = masked_pretraining_settings("base", **backbone)
    return replace(settings, model=replace(settings.model, num_visual_tokens=500))


def test_initialise__has_the_statistics_of_unilm():
    """The numbers were measured on unilm's base; a normal distribution cut at one deviation keeps 0.5396 of it."""
    torch.manual_seed(0)
    network = build_masked_model(with_few_codes(depth=2, mlp_hidden=1536))
    weights = network.state_dict()
    cut = 0.02 * math.sqrt(1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / math.erf(1 / math.sqrt(2)))
    assert cut == pytest.approx(0.0108, abs=5e-5)
    for name in ("backbone.blocks.0.attn.qkv.weight", "backbone.blocks.1.mlp.fc1.weight", "lm_head.weight"):
        assert weights[name].std().item() == pytest.approx(cut, rel=0.01)
        assert weights[name].abs().max() <= 0.02
    assert weights["backbone.patch_embed.proj.weight"].std().item() == pytest.approx(cut, rel=0.01)
    for name in ("mask_token", "backbone.cls_token"):
        assert 0 < weights[name].abs().max() <= 0.02
    for number in (1, 2):
        for part in ("attn.proj", "mlp.fc2"):
            std = weights[f"backbone.blocks.{number - 1}.{part}.weight"].std().item()
            assert std == pytest.approx(cut / math.sqrt(2 * number), rel=0.01)
    zeros = [name for name in weights if name.endswith("bias") or name.endswith("bias_table")]
    extra_linear = [f"cls_pt_layers.{j}.{part}.bias" for j in (0, 1) for part in ("attn.proj", "mlp.fc1", "mlp.fc2")]
    for name in zeros:
        assert bool(weights[name].any()) == (name in extra_linear), name


def test_initialise__leaves_the_extra_blocks_as_pytorch_makes_them():
    torch.manual_seed(0)
    settings = replace(with_few_codes(depth=2, mlp_hidden=1536), early_layer=2)
    weights = build_masked_model(settings).state_dict()
    uniform = 1 / math.sqrt(3 * 768)  # deviation of a uniform distribution of +- 1 / sqrt(inputs)
    assert uniform == pytest.approx(0.0208, abs=5e-5)
    for j in (1, 2):
        block = f"cls_pt_layers.{j - 1}."
        assert weights[block + "mlp.fc1.weight"].std().item() == pytest.approx(uniform, rel=0.01)
        assert weights[block + "attn.qkv.weight"].std().item() == pytest.approx(uniform, rel=0.01)
        assert weights[block + "mlp.fc1.bias"].std().item() == pytest.approx(uniform, rel=0.05)
        depth = math.sqrt(2 * (2 + j))
        assert weights[block + "attn.proj.weight"].std().item() == pytest.approx(uniform / depth, rel=0.01)
        wide = 1 / math.sqrt(3 * 1536)
        assert weights[block + "mlp.fc2.weight"].std().item() == pytest.approx(wide / depth, rel=0.01)
        assert torch.equal(weights[block + "gamma_1"], torch.full((768,), 0.1))


def test_initialise__a_fresh_network_knows_nothing_of_8192_codes():
    torch.manual_seed(0)
    network = build_masked_model(masked_pretraining_settings("tiny", image_size=(64, 64), depth=2)).eval()
    mask = torch.zeros(4, 16, dtype=torch.bool)
    mask[:, :6] = True
    with torch.no_grad():
        logits = network(torch.randn(4, 3, 64, 64), mask)
    codes = torch.randint(8192, (4, 6))
    loss = sum(F.cross_entropy(scores.flatten(0, 1), codes.flatten()).item() for scores in logits)
    assert loss == pytest.approx(2 * math.log(8192), abs=0.3)
