"""A trained classifier in the form that answers fastest: same numbers, fewer steps. torch only.

Gathered once instead of in every pass: the relative-position bias of each block, the bias of queries, keys and
values, the positions. Layer scale is folded into the projections before it, and the patch embedding is one matrix
product.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.errors import ImageError
from modelscope_beit.network.backbone import BeitBackbone, pooled_tokens
from modelscope_beit.network.blocks import Block
from modelscope_beit.network.classifier import BeitClassifier, Classifier


@torch.no_grad()
def inference_form(classifier: Classifier, *, in_place: bool = False) -> nn.Module:
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
    return InferenceForm(classifier)


class InferenceForm(nn.Module):
    """A classifier for inference; made by inference_form."""

    patch_weight: Tensor
    prefix_tokens: Tensor
    patch_bias: Tensor
    norm: nn.LayerNorm

    def __init__(self, classifier: BeitClassifier) -> None:
        super().__init__()
        backbone = classifier.backbone
        self.settings = classifier.settings
        projection = backbone.patch_embed.proj
        assert projection.bias is not None
        prefix_tokens, patch_bias = backbone.prefix_tokens()[0].detach(), projection.bias.detach()[None]
        if backbone.pos_embed is not None:
            prefix_tokens = prefix_tokens + backbone.pos_embed[0, : len(prefix_tokens)]
            patch_bias = patch_bias + backbone.pos_embed[0, len(prefix_tokens) :]
        self.register_buffer("patch_weight", projection.weight.detach().flatten(1))  # (C, 3 p p)
        self.register_buffer("prefix_tokens", prefix_tokens)  # (1 or 2, C)
        self.register_buffer("patch_bias", patch_bias)  # (1 or P, C)
        shared = backbone.shared_bias(backbone.settings.grid)
        self.blocks = nn.ModuleList(_InferenceBlock(backbone, block, shared) for block in _blocks(backbone))
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
        tokens = F.linear(patches, self.patch_weight) + self.patch_bias
        # Not len(tokens), which would fix N when torch.export traces this.
        tokens = torch.cat([self.prefix_tokens.expand(tokens.shape[0], -1, -1), tokens], dim=1)  # (N, T, C)
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(self.norm(pooled_tokens(tokens, settings.pooling)))
        return logits


class _InferenceBlock(nn.Module):
    """One block with everything precomputed that does not depend on the pictures."""

    qkv_bias: Tensor | None
    attention_bias: Tensor | None

    def __init__(self, backbone: BeitBackbone, block: Block, shared: Tensor | None) -> None:
        super().__init__()
        self.num_heads = block.attn.num_heads
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.qkv_weight = block.attn.qkv.weight
        self.fc1 = block.mlp.fc1
        self.register_buffer("qkv_bias", block.attn.qkv_bias())
        self.register_buffer("attention_bias", backbone.attention_bias(block, shared, backbone.settings.grid))
        self.proj = _scaled(block.attn.proj, block.gamma_1)
        self.fc2 = _scaled(block.mlp.fc2, block.gamma_2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (N, T, C) from tokens (N, T, C)."""
        qkv = F.linear(self.norm1(tokens), self.qkv_weight, self.qkv_bias)
        queries, keys, values = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self.attention_bias)
        tokens = tokens + self.proj(mixed.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return result


def _blocks(backbone: BeitBackbone) -> list[Block]:
    return [block for block in backbone.blocks if isinstance(block, Block)]


def _scaled(linear: nn.Linear, gamma: Tensor | None) -> nn.Linear:
    """Returns the linear layer with a layer scale folded in; the layer itself where there is nothing to fold."""
    if gamma is None or bool((gamma == 1).all()):
        return linear
    with torch.device("meta"):
        scaled = nn.Linear(linear.in_features, linear.out_features)
    scaled.weight = nn.Parameter(linear.weight * gamma[:, None], requires_grad=False)
    scaled.bias = nn.Parameter(linear.bias * gamma, requires_grad=False)
    return scaled


def _fold_layer_scale_in_place(backbone: BeitBackbone) -> None:
    for block in _blocks(backbone):
        for linear, gamma in ((block.attn.proj, block.gamma_1), (block.mlp.fc2, block.gamma_2)):
            if gamma is not None:
                linear.weight.mul_(gamma[:, None])
                linear.bias.mul_(gamma)
                gamma.fill_(1.0)
