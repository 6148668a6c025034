import torch

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


def test_feed_forward__uses_the_exact_gelu() -> None:
    feed_forward = FeedForward(SETTINGS).double().eval()
    tokens = torch.randn(1, 3, 32, dtype=torch.float64)
    hidden = feed_forward.fc1(tokens)
    exact = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(feed_forward(tokens), feed_forward.fc2(exact), atol=1e-12, rtol=0)


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
