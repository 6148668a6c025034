"""The parts of a transformer block. torch only.

Letters used in all of network/: N batch, C channels of a token, H W pixels, P patches, T tokens (P and the class token;
in distilled networks one more), K classes, L blocks, A attention heads, D = C / A channels of a head.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from modelscope_beit.network.linear import RoutedLinear, is_eager, linear
from modelscope_beit.network.relative_position import num_table_rows
from modelscope_beit.settings.model import BackboneSettings


class PatchEmbedding(nn.Module):
    """Cuts pictures into patches and projects each to a token."""

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        size = settings.patch_size
        self.proj = nn.Conv2d(settings.in_channels, settings.width, kernel_size=size, stride=size)

    def forward(self, images: Tensor) -> Tensor:
        """Returns (N, P, C) from images (N, 3, H, W); patches row by row."""
        projected: Tensor = self.proj(images)  # (N, C, rows, columns)
        return projected.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention whose logits get a relative-position bias.

    With qkv_bias "qv" the keys have no bias: it would add the same number to all logits of a query, which the
    softmax removes (BEiT). Source: unilm/beit2 modeling_finetune.py.
    """

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        width = settings.width
        self.num_heads = settings.num_heads
        self.attention_dropout = settings.attention_dropout
        self.qkv = RoutedLinear(width, 3 * width, bias=settings.qkv_bias == "full")
        self.q_bias = self.v_bias = self.relative_position_bias_table = None
        if settings.qkv_bias == "qv":
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        if settings.relative_position == "per_layer":
            self.relative_position_bias_table = nn.Parameter(
                torch.zeros(num_table_rows(*settings.grid), settings.num_heads)
            )
        self.proj = RoutedLinear(width, width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """Returns (N, T, C) from tokens (N, T, C) and the bias of the logits (A, T, T)."""
        queries, keys, values = self._queries_keys_values(tokens)
        dropout = self.attention_dropout if self.training else 0.0
        if bias is not None and bias.requires_grad and bias.device.type == "cpu" and torch.is_grad_enabled():
            # PyTorch's fused attention gives no gradient for a mask on a processor; what takes its place keeps the
            # weights twice and copies of queries and keys.
            mixed = F.dropout(_weights(queries, keys, bias), dropout) @ values
        else:
            mixed = F.scaled_dot_product_attention(
                queries,
                keys,
                values,
                # Under autocast the queries are in half precision; the mask must be of their type. With three axes
                # PyTorch's fused attention would be passed over on a processor.
                attn_mask=None if bias is None else bias.to(queries.dtype)[None],
                dropout_p=dropout,
            )  # (N, A, T, D)
        attended: Tensor = self.dropout(self.proj(mixed.transpose(1, 2).flatten(2)))
        return attended

    def weights(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """Returns the attention weights (N, A, T, T), which the fused forward pass never forms; rows sum to 1."""
        queries, keys, _ = self._queries_keys_values(tokens)
        return _weights(queries, keys, bias)

    def qkv_bias(self) -> Tensor | None:
        """Returns the bias (3 C) of queries, keys and values in one vector, if they have one."""
        if self.q_bias is None or self.v_bias is None:
            return self.qkv.bias
        return torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])

    def _queries_keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = linear(tokens, self.qkv.weight, self.qkv_bias())  # (N, T, 3 C)
        queries, keys, values = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return queries, keys, values  # (N, A, T, D) each


class FeedForward(nn.Module):
    """Linear, GELU (the exact one, with erf), linear. Source: unilm/beit2: no dropout between the two."""

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        self.fc1 = RoutedLinear(settings.width, settings.mlp_hidden)
        self.fc2 = RoutedLinear(settings.mlp_hidden, settings.width)
        self.dropout = nn.Dropout(settings.dropout)
        self.is_checkpointed = settings.gradient_checkpointing

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (N, T, C) from tokens (N, T, C)."""
        hidden = self.fc1(tokens)
        activated = F.gelu(hidden)
        # What is recomputed as a whole keeps nothing anyway.
        is_kept = self.is_checkpointed or hidden.device.type != "cpu" or not is_eager()
        with nullcontext() if is_kept else _made_again(F.gelu, hidden, activated):
            transformed: Tensor = self.dropout(self.fc2(activated))
        return transformed


class Block(nn.Module):
    """A pre-norm transformer block: attention and feed-forward, each added to the tokens with layer scale.

    drop_path: probability in [0, 1) of leaving out a branch, drawn for each picture.
    """

    def __init__(self, settings: BackboneSettings, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(settings.width, eps=settings.layer_norm_eps)
        self.attn = Attention(settings)
        self.norm2 = nn.LayerNorm(settings.width, eps=settings.layer_norm_eps)
        self.mlp = FeedForward(settings)
        self.gamma_1 = self.gamma_2 = None
        if settings.layer_scale_init is not None:
            self.gamma_1 = nn.Parameter(torch.full((settings.width,), settings.layer_scale_init))
            self.gamma_2 = nn.Parameter(torch.full((settings.width,), settings.layer_scale_init))

    def forward(self, tokens: Tensor, bias_of: Callable[["Block"], Tensor | None]) -> Tensor:
        """Returns (N, T, C) from tokens (N, T, C).

        bias_of: gives the bias of this block's attention logits (A, T, T). It is asked in here, because it may come
        from a weight of the block, and where processes share a network (FSDP) these are whole in here only.
        """
        bias = bias_of(self)
        tokens = self._add_branch(tokens, lambda some: self.attn(self.norm1(some), bias), self.gamma_1)
        return self._add_branch(tokens, lambda some: self.mlp(self.norm2(some)), self.gamma_2)

    def _add_branch(self, tokens: Tensor, branch_of: Callable[[Tensor], Tensor], gamma: Tensor | None) -> Tensor:
        """Returns tokens + gamma * branch_of(tokens); in training, pictures drawn by drop path go without."""
        if not self.training or self.drop_path == 0.0:
            return tokens + _scaled(branch_of(tokens), gamma)
        keep = 1.0 - self.drop_path
        kept = torch.empty(len(tokens), dtype=tokens.dtype, device=tokens.device).bernoulli_(keep)
        may_look = tokens.device.type == "cpu" and not torch.compiler.is_compiling()
        places = kept.nonzero().flatten() if may_look else None
        if places is None or len(places) in (0, len(tokens)):
            # A GPU would have to wait for the draw, and a compiled graph would end here; and every weight needs a
            # gradient, if only of zeros.
            return tokens + _scaled(branch_of(tokens), gamma) * (kept / keep)[:, None, None]
        # A processor does not compute what is dropped.
        branch = _scaled(branch_of(tokens.index_select(0, places)), gamma)
        return tokens.index_add(0, places, branch.to(tokens.dtype), alpha=1 / keep)


def _made_again(make: Callable[[Tensor], Tensor], given: Tensor, made: Tensor) -> saved_tensors_hooks:
    """Lets autograd keep what `made` was made of, in place of it; `given` is kept anyway, for the gradient of `make`.

    Of GELU that is 200 of the 3,400 MiB of a step of base in float32 with eight pictures, at no measurable cost.
    """
    place, size = made.untyped_storage().data_ptr(), made.numel()

    def packed(tensor: Tensor) -> Tensor | torch.Size:
        is_made = tensor.numel() == size and tensor.untyped_storage().data_ptr() == place
        return tensor.shape if is_made else tensor

    def unpacked(kept: Tensor | torch.Size) -> Tensor:
        return make(given).view(kept) if isinstance(kept, torch.Size) else kept

    return saved_tensors_hooks(packed, unpacked)


def _scaled(branch: Tensor, gamma: Tensor | None) -> Tensor:
    return branch if gamma is None else gamma * branch


def _weights(queries: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    """Returns attention weights (N, A, T, T) of queries and keys (N, A, T, D) and the bias of the logits (A, T, T)."""
    logits = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-2, -1)
    return (logits if bias is None else logits.add_(bias.to(logits.dtype))).softmax(dim=-1)
