"""Masked image modelling of BEiT v2 written down once more, from its description, for one picture after another.

Float64 and loops: nothing here is shared with the package. Weights come as a state dict of unilm's names.
Source: BEiT v2 (arXiv 2208.06366), section 2.3; the description of unilm/beit2 modeling_pretrain.py.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def reference_loss(
    weights: Mapping[str, Tensor],
    image: Tensor,
    hidden: list[int],
    codes: list[int],
    *,
    patch: int,
    num_heads: int,
    early_layer: int,
) -> Tensor:
    """Returns the sum of both mean cross entropies of one picture (3, H, W); codes: of the hidden patches."""
    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    tokens = [weights["cls_token"][0, 0]]
    for number in range(rows * columns):
        top, left = number // columns * patch, number % columns * patch
        pixels = image[:, top : top + patch, left : left + patch]
        embedded = (weights["patch_embed.proj.weight"] * pixels).sum(dim=(1, 2, 3)) + weights["patch_embed.proj.bias"]
        tokens.append(weights["mask_token"][0, 0] if number in hidden else embedded)
    states = torch.stack(tokens)
    bias = relative_bias(weights["rel_pos_bias.relative_position_bias_table"], rows, columns)
    depth = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks."))
    early = states
    for number in range(depth):
        states = block(weights, f"blocks.{number}", states, bias, num_heads)
        if number + 1 == early_layer:
            early = states
    mixed = torch.cat([states[:1], early[1:]])
    for number in range(1 + max(int(key.split(".")[1]) for key in weights if key.startswith("cls_pt_layers."))):
        mixed = block(weights, f"cls_pt_layers.{number}", mixed, bias, num_heads)
    losses = []
    for guess in (states, mixed):
        for place, code in zip(hidden, codes, strict=True):
            scores = linear(weights, "lm_head", layer_norm(weights, "norm", guess[1 + place]))
            losses.append(torch.logsumexp(scores, 0) - scores[code])
    return torch.stack(losses).sum() / len(hidden)


def relative_bias(table: Tensor, rows: int, columns: int) -> Tensor:
    """Returns (heads, tokens, tokens) by the definition: a row of the table for each pair."""
    places = [None, *((row, column) for row in range(rows) for column in range(columns))]
    out = []
    for query in places:
        line = []
        for key in places:
            if query is None or key is None:
                index = len(table) - (3 if query is None and key else 2 if query else 1)
            else:
                index = (query[0] - key[0] + rows - 1) * (2 * columns - 1) + query[1] - key[1] + columns - 1
            line.append(table[index])
        out.append(torch.stack(line))
    return torch.stack(out).permute(2, 0, 1)


def block(weights: Mapping[str, Tensor], name: str, tokens: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """Returns the tokens after one pre-norm block with layer scale."""
    seen = layer_norm(weights, f"{name}.norm1", tokens)
    zeros = torch.zeros_like(weights[f"{name}.attn.q_bias"])
    qkv = seen @ weights[f"{name}.attn.qkv.weight"].T + torch.cat(
        [weights[f"{name}.attn.q_bias"], zeros, weights[f"{name}.attn.v_bias"]]
    )
    width = tokens.shape[1]
    size = width // num_heads
    heads = []
    for head in range(num_heads):
        query, key, value = (qkv[:, part * width + head * size :][:, :size] for part in range(3))
        logits = (query * size**-0.5) @ key.T + bias[head]
        powers = (logits - logits.max(dim=1, keepdim=True).values).exp()
        heads.append(powers / powers.sum(dim=1, keepdim=True) @ value)
    tokens = tokens + weights[f"{name}.gamma_1"] * linear(weights, f"{name}.attn.proj", torch.cat(heads, dim=1))
    wide = linear(weights, f"{name}.mlp.fc1", layer_norm(weights, f"{name}.norm2", tokens))
    wide = wide * (1 + torch.erf(wide / math.sqrt(2))) / 2
    return tokens + weights[f"{name}.gamma_2"] * linear(weights, f"{name}.mlp.fc2", wide)


def linear(weights: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    """Returns a linear layer's output."""
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    """Returns the values with mean 0 and variance 1 of each token, scaled and shifted."""
    mean = values.mean(dim=-1, keepdim=True)
    variance = (values - mean).square().mean(dim=-1, keepdim=True)
    return (values - mean) / (variance + 1e-6).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def adamw_step(weight: np.ndarray, gradient: np.ndarray, *, lr: float, decay: float) -> np.ndarray:
    """Returns a weight after the first step of AdamW with betas (0.9, 0.98) and eps 1e-8: bias corrections cancel."""
    return weight * (1 - lr * decay) - lr * gradient / (np.abs(gradient) + 1e-8)
