"""A trained classifier in the form that answers fastest: same numbers, fewer steps. torch only.

Gathered once instead of in every pass: the relative-position bias of each block, the bias of queries, keys and
values, the positions. Layer scale is folded into the projections before it, and the patch embedding is one matrix
product. What it computes in is an Arithmetic: here float32 with the classifier's own weights; see precision.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.errors import ImageError
from modelscope_beit.network.backbone import BeitBackbone, pooled_tokens
from modelscope_beit.network.blocks import Block
from modelscope_beit.network.classifier import BeitClassifier, Classifier


class Linear(nn.Module):
    """A linear layer and what follows it: GELU, or a sum with other tokens. Shares its weight (out, in) and bias."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, gelu: bool) -> None:
        super().__init__()
        self.gelu = gelu
        for name, tensor in (("weight", weight), ("bias", bias)):
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def forward(self, tokens: Tensor, added_to: Tensor | None = None) -> Tensor:
        """Returns (..., out) of tokens (..., in); with added_to, (..., out), the sum of both."""
        result = F.linear(tokens, self.weight, self.bias)
        if self.gelu:
            result = F.gelu(result)
        return result if added_to is None else added_to + result


@dataclass(frozen=True)
class Arithmetic:
    """What a form computes in.

    linear: makes a module like Linear of (name, weight, bias, gelu). The names are "patches" and, of block 0, "0.qkv",
        "0.proj", "0.fc1" and "0.fc2".
    attention: the type that it is done in; None: that of its input.
    in_steps: attention is two products and a softmax, and its scale part of the queries' weights; else it is PyTorch's
        fused one, which is slower in bfloat16.
    on_used: called with weights of the classifier that a block has taken over.
    """

    linear: Callable[[str, Tensor, Tensor | None, bool], nn.Module] = lambda _, *of_linear: Linear(*of_linear)
    attention: torch.dtype | None = None
    in_steps: bool = False
    on_used: Callable[[Iterable[Tensor]], None] = lambda _: None


EXACT = Arithmetic()
# The patch embedding's name for an Arithmetic.
PATCHES = "patches"


@torch.no_grad()
def inference_form(classifier: Classifier, *, in_place: bool = False, arithmetic: Arithmetic = EXACT) -> nn.Module:
    """Returns a module that gives the classifier's logits, for inputs of the size in its settings.

    A network that others built is returned as it is.
    It shares the classifier's weights wherever it can, so move or change the two together. Folding layer scale needs
    a copy of two fifths of them; in_place: the fold happens in the classifier itself instead, whose layer scales
    become 1. It still computes the same, but no longer holds the numbers of its file.
    """
    if not isinstance(classifier, BeitClassifier):
        return classifier
    if in_place:
        _fold_layer_scale_in_place(classifier.backbone)
    return InferenceForm(classifier, arithmetic)


def fold_norms(form: "InferenceForm") -> None:
    """Makes scale and bias of the blocks' layer norms part of the products after them, which get weights of their own.

    form: in the exact arithmetic.
    """
    for block in form.blocks:
        assert isinstance(block, _InferenceBlock)
        block.norm1, block.qkv = _folded(block.norm1, block.qkv)
        block.norm2, block.fc1 = _folded(block.norm2, block.fc1)


class InferenceForm(nn.Module):
    """A classifier for inference; made by inference_form."""

    prefix_tokens: Tensor
    patch_bias: Tensor
    norm: nn.LayerNorm

    def __init__(self, classifier: BeitClassifier, arithmetic: Arithmetic) -> None:
        super().__init__()
        backbone = classifier.backbone
        self.settings = classifier.settings
        projection = backbone.patch_embed.proj
        assert projection.bias is not None
        prefix_tokens, patch_bias = backbone.prefix_tokens()[0].detach(), projection.bias.detach()[None]
        if backbone.pos_embed is not None:
            prefix_tokens = prefix_tokens + backbone.pos_embed[0, : len(prefix_tokens)]
            patch_bias = patch_bias + backbone.pos_embed[0, len(prefix_tokens) :]
        self.patches = arithmetic.linear(PATCHES, projection.weight.detach().flatten(1), None, False)  # (C, 3 p p)
        self.register_buffer("prefix_tokens", prefix_tokens)  # (1 or 2, C)
        self.register_buffer("patch_bias", patch_bias)  # (1 or P, C)
        shared = backbone.shared_bias(backbone.settings.grid)
        self.blocks = nn.ModuleList()
        for number, block in enumerate(_blocks(backbone)):
            bias = backbone.attention_bias(block, shared, backbone.settings.grid)
            self.blocks.append(_InferenceBlock(number, block, bias, arithmetic))
            arithmetic.on_used(block.parameters())
        norm = backbone.fc_norm if backbone.settings.pooling == "mean" else backbone.norm
        assert norm is not None
        self.norm = norm
        self.head = classifier.head
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W), float, normalised.

        Raises ImageError if the size is not the one in the settings.
        """
        settings = self.settings.backbone
        if images.shape[1:] != (settings.in_channels, *settings.image_size):
            raise ImageError(
                f"Expected images of shape (N, {settings.in_channels}, {settings.image_size[0]}, "
                f"{settings.image_size[1]}), got {tuple(images.shape)}."
            )
        rows, columns = settings.grid
        size = settings.patch_size
        patches = images.unflatten(3, (columns, size)).unflatten(2, (rows, size))  # (N, 3, rows, p, columns, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (N, P, 3 p p)
        tokens = self.patches(patches) + self.patch_bias
        # Not len(tokens), which would fix N when torch.export traces this.
        tokens = torch.cat([self.prefix_tokens.expand(tokens.shape[0], -1, -1), tokens], dim=1)  # (N, T, C)
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(self.norm(pooled_tokens(tokens, settings.pooling)))
        return logits


class _InferenceBlock(nn.Module):
    """One block with everything precomputed that does not depend on the pictures."""

    attention_bias: Tensor | None
    qkv: nn.Module
    proj: nn.Module
    fc1: nn.Module
    fc2: nn.Module

    def __init__(self, number: int, block: Block, bias: Tensor | None, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.num_heads = block.attn.num_heads
        self.attention, self.in_steps = arithmetic.attention, arithmetic.in_steps
        self.norm1, self.norm2 = block.norm1, block.norm2
        # (1, A, T, T): with three axes PyTorch's fused attention is passed over on a processor.
        self.register_buffer("attention_bias", bias if bias is None else bias.to(self.attention or bias.dtype)[None])
        weights = {
            "qkv": self._query_key_value(block),
            "proj": _scaled(block.attn.proj, block.gamma_1),
            "fc1": (block.mlp.fc1.weight, block.mlp.fc1.bias),
            "fc2": _scaled(block.mlp.fc2, block.gamma_2),
        }
        for name in tuple(weights):
            # Gone as soon as it is used: in another arithmetic it is a copy.
            self.add_module(name, arithmetic.linear(f"{number}.{name}", *weights.pop(name), name == "fc1"))

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (N, T, C) from tokens (N, T, C)."""
        qkv = self.qkv(self.norm1(tokens))
        qkv = qkv.to(self.attention or qkv.dtype)
        queries_keys_values = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, N, A, T, D)
        if self.in_steps:
            # One copy in place of one before each product.
            queries, keys, values = queries_keys_values.contiguous()
            logits = queries @ keys.transpose(-2, -1)
            weights = (logits if self.attention_bias is None else logits.add_(self.attention_bias)).softmax(dim=-1)
            mixed = weights @ values
        else:
            queries, keys, values = queries_keys_values
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self.attention_bias)
        tokens = self.proj(mixed.transpose(1, 2).flatten(2), tokens)
        result: Tensor = self.fc2(self.fc1(self.norm2(tokens)), tokens)
        return result

    def _query_key_value(self, block: Block) -> tuple[Tensor, Tensor | None]:
        """Returns weight (3 C, C) and bias (3 C,); of attention in steps with its scale folded into the queries."""
        weight, bias = block.attn.qkv.weight, block.attn.qkv_bias()
        if not self.in_steps:
            return weight, bias
        channels = weight.shape[1]
        scale = weight.new_ones(len(weight))
        scale[:channels] = (channels // self.num_heads) ** -0.5
        return weight * scale[:, None], None if bias is None else bias * scale


def _blocks(backbone: BeitBackbone) -> list[Block]:
    return [block for block in backbone.blocks if isinstance(block, Block)]


def _scaled(linear: nn.Linear, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns weight and bias with a layer scale folded in; the layer's own where there is nothing to fold."""
    if gamma is None or bool((gamma == 1).all()):
        return linear.weight, linear.bias
    return linear.weight * gamma[:, None], linear.bias * gamma


@torch.no_grad()
def _folded(norm: nn.LayerNorm, linear: nn.Module) -> tuple[nn.LayerNorm, Linear]:
    """Returns a layer norm without scale and bias, and the linear layer after it with both folded in."""
    assert isinstance(linear, Linear)
    plain = nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)
    added = linear.weight @ norm.bias
    bias = added if linear.bias is None else added + linear.bias
    return plain, Linear(linear.weight * norm.weight, bias, linear.gelu)


def _fold_layer_scale_in_place(backbone: BeitBackbone) -> None:
    for block in _blocks(backbone):
        for linear, gamma in ((block.attn.proj, block.gamma_1), (block.mlp.fc2, block.gamma_2)):
            if gamma is not None:
                linear.weight.mul_(gamma[:, None])
                linear.bias.mul_(gamma)
                gamma.fill_(1.0)
