"""The backbone of BEiT v2, BEiT, ViT and DeiT: pictures to tokens. torch only.

Source: BEiT v2 (arXiv 2208.06366), section 2; unilm/beit2 modeling_finetune.py. Letters: see blocks.py.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.network.absolute_position import resize_position_embedding
from modelscope_beit.network.blocks import Block, PatchEmbedding
from modelscope_beit.network.relative_position import (
    gather_bias,
    num_table_rows,
    relative_position_index,
    resize_table,
)
from modelscope_beit.settings.model import BackboneSettings, Pooling


@dataclass
class Features:
    """What the backbone sees in a batch of pictures.

    pooled: (N, C), what the head gets, or (N, 2, C) of two tokens. class_token: (N, C) and patch_tokens: (N, P, C)
    after the last block, with its final norm where the network has one. maps: block number (from 0) -> (N, C, rows,
    columns), that block's patch tokens, not normalised. attention: block number -> (N, A, T, T), weights whose rows
    sum to 1.
    """

    pooled: Tensor
    class_token: Tensor
    patch_tokens: Tensor
    maps: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)


class SharedRelativePosition(nn.Module):
    """One relative-position table for all blocks, as during masked image modelling."""

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros(num_table_rows(*settings.grid), settings.num_heads)
        )


class BeitBackbone(nn.Module):
    """Turns pictures into tokens and one pooled feature; takes any size that is a multiple of the patch.

    Positions are those of settings.image_size; for another input size they are interpolated on the way.
    """

    index: Tensor

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        self.settings = settings
        self.patch_embed = PatchEmbedding(settings)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, settings.width))
        self.dist_token = self.pos_embed = self.rel_pos_bias = self.norm = self.fc_norm = None
        if settings.distilled:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, settings.width))
        if settings.absolute_position:
            rows, columns = settings.grid
            self.pos_embed = nn.Parameter(torch.zeros(1, settings.num_prefix_tokens + rows * columns, settings.width))
        if settings.relative_position == "shared":
            self.rel_pos_bias = SharedRelativePosition(settings)
        if settings.relative_position != "none":
            # Not saved: files of another resolution hold another index (beit2 saves it; loading must ignore it).
            self.register_buffer("index", relative_position_index(*settings.grid), persistent=False)
        self.dropout = nn.Dropout(settings.dropout)
        last = max(settings.depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(settings, drop_path=settings.drop_path * number / last) for number in range(settings.depth)
        )
        norm = nn.LayerNorm(settings.width, eps=settings.layer_norm_eps)
        if settings.pooling == "mean":
            self.fc_norm = norm
        else:
            self.norm = norm
        self._freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Returns the pooled feature (N, C), of two tokens (N, 2, C), of images (N, 3, H, W), float, normalised.

        Raises ImageError if H or W is no multiple of the patch or the channels differ.
        """
        tokens, grid = self.embed(images)
        return self.pool(self.run_blocks(tokens, grid))

    def features(self, images: Tensor, *, maps: Collection[int] = (), attention: Collection[int] = ()) -> Features:
        """Returns what forward computes on the way, for images (N, 3, H, W).

        maps, attention: numbers of blocks, from 0, whose patch tokens or attention weights are wanted.
        Raises ImageError like forward, SettingsError for a block that does not exist.
        """
        unknown = sorted(number for number in {*maps, *attention} if not 0 <= number < len(self.blocks))
        if unknown:
            raise SettingsError(f"There are blocks 0 to {len(self.blocks) - 1}, but {unknown} were asked for.")
        tokens, grid = self.embed(images)
        shared = self.shared_bias(grid)
        first_patch = self.settings.num_prefix_tokens
        kept_maps, kept_attention = {}, {}
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if number in attention:
                bias = self.attention_bias(block, shared, grid)
                kept_attention[number] = block.attn.weights(block.norm1(tokens), bias)
            tokens = self.run_block(block, tokens, shared, grid)
            if number in maps:
                kept_maps[number] = tokens[:, first_patch:].transpose(1, 2).unflatten(2, grid)  # (N, C, rows, columns)
        final = tokens if self.norm is None else self.norm(tokens)
        return Features(self.pool(tokens), final[:, 0], final[:, first_patch:], kept_maps, kept_attention)

    def maps(self, images: Tensor, numbers: Sequence[int]) -> list[Tensor]:
        """Returns the patch tokens that leave chosen blocks, as maps (N, C, rows, columns), not normalised, in order.

        numbers: of blocks, from 0; -1 is what enters the first one. Blocks after the last chosen one are not run.
        Raises ImageError like forward, SettingsError for a block that does not exist.
        """
        unknown = sorted(number for number in numbers if not -1 <= number < len(self.blocks))
        if unknown:
            raise SettingsError(f"There are blocks 0 to {len(self.blocks) - 1}, but {unknown} were asked for.")
        tokens, grid = self.embed(images)
        shared = self.shared_bias(grid)
        chosen = {-1: tokens} if -1 in numbers else {}
        for number, block in enumerate(self.blocks[: max(numbers) + 1]):
            tokens = self.run_block(block, tokens, shared, grid)
            if number in numbers:
                chosen[number] = tokens
        first_patch = self.settings.num_prefix_tokens
        return [chosen[number][:, first_patch:].transpose(1, 2).unflatten(2, grid) for number in numbers]

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Returns the tokens (N, T, C) that enter the first block, and the grid (rows, columns) of patches."""
        grid = self.grid_of(images)
        return self.assemble(self.patch_embed(images), grid), grid

    def assemble(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Returns the tokens (N, T, C) that enter the first block, of embedded patches (N, P, C) on such a grid."""
        prefix = self.prefix_tokens().expand(len(patches), -1, -1).to(patches.dtype)
        tokens = torch.cat([prefix, patches], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + resize_position_embedding(self.pos_embed, self.settings.grid, grid)
        embedded: Tensor = self.dropout(tokens)
        return embedded

    def run_blocks(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Returns the tokens (N, T, C) after the last block, not normalised, of those that enter the first."""
        shared = self.shared_bias(grid)
        for block in self.blocks:
            tokens = self.run_block(block, tokens, shared, grid)
        return tokens

    def run_block(self, block: nn.Module, tokens: Tensor, shared: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """Returns the tokens (N, T, C) after one block, recomputed in the backward pass if the settings say so.

        block: one of `blocks`, or another of the same settings. shared: what shared_bias gives for this grid.
        """

        def bias_of(block: Block) -> Tensor | None:
            return self.attention_bias(block, shared, grid)

        if self.settings.gradient_checkpointing and self.training and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(block, tokens, bias_of, use_reentrant=False)
            return recomputed
        output: Tensor = block(tokens, bias_of)
        return output

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """Returns the (rows, columns) of patches of images (N, 3, H, W); raises ImageError like forward."""
        patch, channels = self.settings.patch_size, self.settings.in_channels
        if images.ndim != 4 or images.shape[1] != channels:
            raise ImageError(f"Expected images of shape (N, {channels}, H, W), got {tuple(images.shape)}.")
        height, width = images.shape[2:]
        if height % patch or width % patch or min(height, width) < patch:
            raise ImageError(
                f"Expected sides that are multiples of the patch of {patch} pixels, got {height}x{width}; "
                f"the network was made for {self.settings.image_size[0]}x{self.settings.image_size[1]}."
            )
        return height // patch, width // patch

    def prefix_tokens(self) -> Tensor:
        """Returns the tokens before those of the patches: the class token (1, 1, C), or both tokens (1, 2, C)."""
        return self.cls_token if self.dist_token is None else torch.cat([self.cls_token, self.dist_token], dim=1)

    def pool(self, tokens: Tensor) -> Tensor:
        """Returns the pooled feature (N, C), of two tokens (N, 2, C), of the last block's tokens (N, T, C).

        The class token is no part of the mean; the norm comes after the mean.
        """
        norm = self.norm if self.fc_norm is None else self.fc_norm
        assert norm is not None
        normalised: Tensor = norm(pooled_tokens(tokens, self.settings.pooling))
        return normalised

    def shared_bias(self, grid: tuple[int, int]) -> Tensor | None:
        """Returns the bias (A, T, T) that all blocks share, if the network has one."""
        if self.rel_pos_bias is None:
            return None
        return self._bias(self.rel_pos_bias.relative_position_bias_table, grid)

    def attention_bias(self, block: Block, shared: Tensor | None, grid: tuple[int, int]) -> Tensor | None:
        """Returns the bias (A, T, T) of one block's attention logits, if it has one."""
        table = block.attn.relative_position_bias_table
        return shared if table is None else self._bias(table, grid)

    def train(self, mode: bool = True) -> "BeitBackbone":
        """Switches to training or evaluation; frozen parts stay in evaluation."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        return self

    def _bias(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        if grid == self.settings.grid:
            return gather_bias(table, self.index)
        resized = resize_table(table, self.settings.grid, grid, self.settings.table_resize)
        return gather_bias(resized, relative_position_index(*grid).to(table.device))

    def _frozen_parts(self) -> list[nn.Module]:
        frozen = self.settings.frozen_stages
        return [] if frozen < 0 else [self.patch_embed, self.dropout, *self.blocks[:frozen]]

    def _freeze(self) -> None:
        for part in self._frozen_parts():
            part.requires_grad_(False)
        if self.settings.frozen_stages >= 0:
            self.cls_token.requires_grad_(False)
            if self.dist_token is not None:
                self.dist_token.requires_grad_(False)
            if self.pos_embed is not None:
                self.pos_embed.requires_grad_(False)
            if self.rel_pos_bias is not None:
                self.rel_pos_bias.requires_grad_(False)


def pooled_tokens(tokens: Tensor, pooling: Pooling) -> Tensor:
    """Returns what is pooled of tokens (N, T, C), before the norm: (N, C), of two tokens (N, 2, C)."""
    if pooling == "mean":
        return tokens[:, 1:].mean(dim=1)
    return tokens[:, 0] if pooling == "class_token" else tokens[:, :2]
