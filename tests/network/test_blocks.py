import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap
from torch.profiler import ProfilerActivity

from modelscope_beit.network.blocks import Attention, Block, FeedForward, PatchEmbedding
from modelscope_beit.settings.model import BackboneSettings

SETTINGS = BackboneSettings(image_size=(32, 32), width=32, depth=2, num_heads=4, mlp_hidden=64)


def test_patch_embedding__orders_patches_row_by_row() -> None:
    embedding = PatchEmbedding(SETTINGS)
    images = torch.randn(1, 3, 32, 48)
    second_row_first = embedding(images[:, :, 16:, :16])
    torch.testing.assert_close(embedding(images)[:, 3:4], second_row_first)


def test_attention__zero_queries_give_the_softmax_of_the_bias() -> None:
    attention = Attention(SETTINGS)
    with torch.no_grad():
        attention.qkv.weight[:32].zero_()  # trap 7: the bias must not be scaled
    bias, tokens = torch.randn(4, 5, 5), torch.randn(2, 5, 32)
    wanted = bias.softmax(-1).expand(2, -1, -1, -1)
    torch.testing.assert_close(attention.weights(tokens, bias), wanted)


def test_attention__fused_and_explicit_forms_agree() -> None:
    attention = Attention(SETTINGS).eval()
    bias, tokens = torch.randn(4, 5, 5), torch.randn(2, 5, 32)
    values = torch.nn.functional.linear(tokens, attention.qkv.weight, attention.qkv_bias())[..., 64:]
    mixed = attention.weights(tokens, bias) @ values.unflatten(2, (4, 8)).transpose(1, 2)
    torch.testing.assert_close(attention(tokens, bias), attention.proj(mixed.transpose(1, 2).flatten(2)))


def test_attention__large_logits_stay_finite_in_half_precision() -> None:
    attention = Attention(SETTINGS).eval().to(torch.bfloat16)
    tokens = 100 * torch.randn(1, 5, 32, dtype=torch.bfloat16)
    assert bool(attention(tokens, torch.zeros(4, 5, 5)).isfinite().all())


def test_attention__with_a_trained_bias_has_the_gradients_of_the_fused_form() -> None:
    """In float64 PyTorch forms the attention weights itself."""
    attention = Attention(SETTINGS)
    tokens, bias = torch.randn(2, 5, 32, requires_grad=True), torch.randn(4, 5, 5, requires_grad=True)
    wanted_of = (tokens, bias, attention.qkv.weight, attention.v_bias, attention.proj.weight)
    found = torch.autograd.grad(attention(tokens, bias).square().sum(), wanted_of)
    queries, keys, values = attention.double()._queries_keys_values(tokens.double())
    mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias.double())
    total = attention.proj(mixed.transpose(1, 2).flatten(2)).square().sum()
    wanted = torch.autograd.grad(total, (tokens, bias, attention.qkv.weight, attention.v_bias, attention.proj.weight))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other.double(), atol=1e-4, rtol=1e-4)


def test_attention__drops_weights_in_training_only() -> None:
    attention = Attention(dataclasses.replace(SETTINGS, attention_dropout=0.5))
    tokens, bias = torch.randn(2, 5, 32), torch.zeros(4, 5, 5, requires_grad=True)
    assert not torch.equal(attention(tokens, bias), attention(tokens, bias))
    attention.eval()
    torch.testing.assert_close(attention(tokens, bias), attention(tokens, bias.detach()))


def test_feed_forward__uses_the_exact_gelu() -> None:
    feed_forward = FeedForward(SETTINGS).double().eval()
    tokens = torch.randn(1, 3, 32, dtype=torch.float64)
    hidden = feed_forward.fc1(tokens)
    exact = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(feed_forward(tokens), feed_forward.fc2(exact), atol=1e-12, rtol=0)


@pytest.mark.parametrize("is_mixed", [False, True])
def test_feed_forward__computes_gelu_again_in_place_of_keeping_what_it_made(is_mixed: bool) -> None:
    tokens = torch.randn(2, 3, 32)
    gradients, kept = [], []
    for checkpointing in (True, False):
        torch.manual_seed(0)
        feed_forward = FeedForward(dataclasses.replace(SETTINGS, gradient_checkpointing=checkpointing))
        with (
            torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
            torch.autocast("cpu", torch.bfloat16, enabled=is_mixed),
        ):
            result = feed_forward(tokens)
        kept.append(sum(event.self_cpu_memory_usage for event in profiler.key_averages()))
        gradients.append(torch.autograd.grad(result.float().square().sum(), list(feed_forward.parameters())))
        del result
    assert kept[0] - kept[1] == 2 * 3 * 64 * (2 if is_mixed else 4)
    for with_gelu_kept, computed_again in zip(*gradients, strict=True):
        assert torch.equal(with_gelu_kept, computed_again)


def test_feed_forward__has_second_derivatives() -> None:
    feed_forward, tokens = FeedForward(SETTINGS).double(), torch.randn(2, 32, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(feed_forward, tokens)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_block__works_under_torch_func() -> None:
    block, tokens = Block(SETTINGS, drop_path=0.0), torch.randn(3, 5, 32)
    weights = dict(block.named_parameters())

    def bias_of(block: Block) -> torch.Tensor:
        return block.attn.relative_position_bias_table[:5].t()[:, None].expand(-1, 5, -1)

    def loss(of_weights: dict[str, torch.Tensor], picture: torch.Tensor) -> torch.Tensor:
        return functional_call(block, of_weights, (picture[None], bias_of)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(weights, tokens)
    block(tokens, bias_of).square().sum().backward()
    for name, weight in block.named_parameters():
        torch.testing.assert_close(each[name].sum(0), weight.grad, atol=1e-3, rtol=1e-4)


def test_block__drop_path_leaves_out_whole_pictures_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    block = Block(SETTINGS, drop_path=0.5).train()
    with torch.no_grad():
        block.gamma_2.zero_()
        block.gamma_1.fill_(1.0)
    tokens = torch.randn(1, 5, 32).expand(4000, -1, -1)
    added = block(tokens, lambda block: None) - tokens
    dropped = (added == 0).all(dim=(1, 2))
    assert 0.45 < float(dropped.float().mean()) < 0.55
    torch.testing.assert_close(added[~dropped][0], 2 * (block.eval()(tokens[:1], lambda block: None) - tokens[:1])[0])
