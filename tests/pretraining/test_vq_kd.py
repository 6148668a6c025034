"""The tokenizer: published sizes, ranges, precision, and one step against the algorithm written anew in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modelscope_beit.errors import ImageError
from modelscope_beit.pretraining.vq_kd import Tokenizer, reconstruction_cosine, tokenizer_loss
from modelscope_beit.settings.tokenizer import CodebookSettings, TokenizerSettings
from tiny_tokenizer import reference_quantizer, tiny_tokenizer


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def on_meta(settings: TokenizerSettings) -> Tokenizer:
    with torch.device("meta"):
        return Tokenizer(settings)


def test_tokenizer__has_the_published_number_of_weights() -> None:
    tokenizer = on_meta(TokenizerSettings())
    assert count(tokenizer) == 108_829_216
    assert count(tokenizer.encoder) == 85_789_440
    assert count(tokenizer.decoder) == 21_440_256
    assert count(tokenizer.encode_task_layer) == 615_200
    assert count(tokenizer.decode_task_layer) == 984_320
    assert tokenizer.codebook.codes.shape == (8192, 32)


@pytest.mark.parametrize(("target_width", "weights"), [(512, 94_655_008), (768, 94_851_872)])
def test_tokenizer__has_the_published_number_of_weights_with_one_block_in_the_decoder(
    target_width: int, weights: int
) -> None:
    assert count(on_meta(TokenizerSettings(decoder_depth=1, target_width=target_width))) == weights


def test_tokenizer__codes_are_no_weights_to_train() -> None:
    assert not [name for name, _ in tiny_tokenizer().named_parameters() if name.startswith("codebook")]


def test_tokenizer__the_encoder_sees_minus_one_to_one() -> None:
    # Trap 30: nothing is guessed from the values, so a dark picture stays dark.
    tokenizer, seen = tiny_tokenizer(), []
    tokenizer.encoder.patch_embed.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for value in (0.0, 0.25, 1.0):
        tokenizer(torch.full((1, 3, 32, 32), value))
    assert [float(images.unique()) for images in seen] == [-1.0, -0.5, 1.0]


def test_tokenizer__the_decoder_sees_unit_vectors_only() -> None:
    tokenizer, seen = tiny_tokenizer(), []
    tokenizer.decoder.patch_embed.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    found = tokenizer(torch.rand(2, 3, 32, 32))
    assert seen[0].shape == (2, 8, 4, 4)
    torch.testing.assert_close(seen[0][1, :, 2, 3], tokenizer.codebook.codes[found.quantized.numbers[1, 11]])
    assert found.reconstruction.shape == (2, 16, 12)


@pytest.mark.parametrize("images", [torch.rand(1, 3, 32, 40), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)])
def test_tokenizer__refuses_other_pictures(images: Tensor) -> None:
    with pytest.raises(ImageError, match=r"Expected images \(N, 3, 32, 32\)"):
        tiny_tokenizer()(images)


def test_tokenizer__task_layers_and_codebook_stay_in_float32_under_autocast() -> None:
    tokenizer, types = tiny_tokenizer(), {}

    def note_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        types[module] = inputs[0].dtype

    projection = tokenizer.encoder.blocks[0].attn.proj
    projection.register_forward_pre_hook(note_input)
    with torch.autocast("cpu", torch.bfloat16):
        found = tokenizer(torch.rand(1, 3, 32, 32))
        loss = tokenizer_loss(found, torch.rand(1, 16, 12))
    assert types[projection] == torch.bfloat16
    assert found.quantized.features.dtype == found.quantized.vectors.dtype == torch.float32
    assert found.reconstruction.dtype == loss.dtype == torch.float32


def test_tokenize__changes_nothing_and_needs_no_gradient() -> None:
    tokenizer = tiny_tokenizer().train()
    before = {name: tensor.clone() for name, tensor in tokenizer.state_dict().items()}
    images = torch.rand(2, 3, 32, 32)
    numbers = tokenizer.tokenize(images)
    assert torch.equal(numbers, tokenizer(images).quantized.numbers)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tokenizer.state_dict().items())


@torch.no_grad()
def test_tokenizer__is_initialised_as_unilms() -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerSettings(encoder_depth=2, codebook=CodebookSettings(num_codes=64)))
    assert float(tokenizer.encode_task_layer[0].weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(tokenizer.decode_task_layer[2].weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(tokenizer.encoder.pos_embed.std()) == pytest.approx(0.02, rel=0.02)
    for part in (tokenizer.encoder, tokenizer.decoder):
        for number, block in enumerate(part.blocks, start=1):
            assert float(block.mlp.fc2.weight.std()) == pytest.approx(0.02 / math.sqrt(2 * number), rel=0.02)
    for layer in (*tokenizer.encode_task_layer, *tokenizer.decode_task_layer):
        assert not isinstance(layer, nn.Linear) or float(layer.bias.abs().max()) == 0.0
    # The encoder's projection of patches keeps PyTorch's own: uniform up to 1 / sqrt(768).
    assert float(tokenizer.encoder.patch_embed.proj.weight.std()) == pytest.approx(1 / math.sqrt(3 * 768), rel=0.02)


def transformer(tokens: Tensor, weights: dict[str, Tensor], part: str, heads: int) -> Tensor:
    """Returns the patch tokens of a ViT with absolute positions, written out; tokens (N, P, C) are embedded patches."""

    def norm(values: Tensor, name: str) -> Tensor:
        centred = values - values.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return scaled * weights[f"{part}.{name}.weight"] + weights[f"{part}.{name}.bias"]

    def linear(values: Tensor, name: str) -> Tensor:
        return values @ weights[f"{part}.{name}.weight"].T + weights[f"{part}.{name}.bias"]

    class_token = weights[f"{part}.cls_token"].expand(len(tokens), 1, -1)
    tokens = torch.cat([class_token, tokens], dim=1) + weights[f"{part}.pos_embed"]
    depth = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith(f"{part}.blocks."))
    for number in range(depth):
        block = f"blocks.{number}"
        seen = norm(tokens, f"{block}.norm1")
        cut = weights[f"{part}.{block}.attn.qkv.weight"].chunk(3)
        queries = seen @ cut[0].T + weights[f"{part}.{block}.attn.q_bias"]
        keys, values = seen @ cut[1].T, seen @ cut[2].T + weights[f"{part}.{block}.attn.v_bias"]
        mixed = []
        for query, key, value in zip(*(some.chunk(heads, dim=-1) for some in (queries, keys, values)), strict=True):
            share = (query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])).softmax(dim=-1)
            mixed.append(share @ value)
        tokens = tokens + linear(torch.cat(mixed, dim=-1), f"{block}.attn.proj")
        hidden = linear(norm(tokens, f"{block}.norm2"), f"{block}.mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        tokens = tokens + linear(hidden, f"{block}.mlp.fc2")
    return norm(tokens, "fc_norm")[:, 1:]


def task_layer(tokens: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    hidden = torch.tanh(tokens @ weights[f"{name}.0.weight"].T + weights[f"{name}.0.bias"])
    return hidden @ weights[f"{name}.2.weight"].T + weights[f"{name}.2.bias"]


def reference_loss(weights: dict[str, Tensor], codes: np.ndarray, images: Tensor, targets: Tensor) -> tuple:
    """Returns loss and codes after the step, by the description of the algorithm; all in float64."""
    cut = images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    projection = weights["encoder.patch_embed.proj.weight"].flatten(1)
    embedded = (cut * 255 / 127.5 - 1) @ projection.T + weights["encoder.patch_embed.proj.bias"]
    found = task_layer(transformer(embedded, weights, "encoder", 2), weights, "encode_task_layer")
    normalised = found / found.norm(dim=-1, keepdim=True)
    numbers, chosen, _, after = reference_quantizer(found.detach().reshape(-1, 8).numpy(), codes, 0.99)
    vectors = torch.from_numpy(chosen).reshape(normalised.shape)
    straight = normalised + (vectors - normalised).detach()
    projection = weights["decoder.patch_embed.proj.weight"].flatten(1)
    embedded = straight @ projection.T + weights["decoder.patch_embed.proj.bias"]
    guess = task_layer(transformer(embedded, weights, "decoder", 2), weights, "decode_task_layer")
    cosine = (guess * targets).sum(-1) / (guess.norm(dim=-1) * targets.norm(dim=-1))
    return (1 - cosine).mean() + (normalised - vectors).square().mean(), after, numbers


def test_step__equals_the_reference_algorithm_in_float64() -> None:
    tokenizer = tiny_tokenizer(3).double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in tokenizer.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    images = torch.rand(3, 3, 32, 32, generator=generator, dtype=torch.float64)
    targets = torch.randn(3, 16, 12, generator=generator, dtype=torch.float64)
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in tokenizer.named_parameters()}
    expected, after, numbers = reference_loss(weights, tokenizer.codebook.codes.numpy().copy(), images, targets)
    expected.backward()

    found = tokenizer(images)
    loss = tokenizer_loss(found, targets)
    loss.backward()
    tokenizer.codebook.learn([found.quantized], seed=0)

    assert len(set(numbers.tolist())) > 3
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_array_equal(found.quantized.numbers.flatten().numpy(), numbers)
    for name, weight in tokenizer.named_parameters():
        assert weights[name].grad is not None and float(weights[name].grad.abs().max()) > 0, name
        torch.testing.assert_close(weight.grad, weights[name].grad, rtol=1e-8, atol=1e-13, msg=name)
    np.testing.assert_allclose(tokenizer.codebook.codes.numpy(), after, atol=1e-13)


def test_reconstruction_cosine__is_that_of_numpy() -> None:
    one, other = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    left, right = one.numpy(), other.numpy()
    expected = (left * right).sum(-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(right, axis=-1)
    np.testing.assert_allclose(reconstruction_cosine(one, other).numpy(), expected, rtol=1e-5)
