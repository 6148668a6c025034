"""Absolute position embeddings for another grid of patches. torch only."""

import torch.nn.functional as F
from torch import Tensor, cat


def resize_position_embedding(embedding: Tensor, source_grid: tuple[int, int], target_grid: tuple[int, int]) -> Tensor:
    """Returns position embeddings for another grid; gradients flow back to the given ones.

    embedding: (1, T, C); what it has beyond the grid's P patches stands first, for the class token (and the
    distillation token), and is kept as it is. Grids are (rows, columns) of patches.
    Returns (1, T - P + P', C), bicubic without antialiasing. Source: unilm/beit2 run_class_finetuning.py.
    """
    if source_grid == target_grid:
        return embedding
    num_prefix_tokens = embedding.shape[1] - source_grid[0] * source_grid[1]
    picture = embedding[:, num_prefix_tokens:].unflatten(1, source_grid).permute(0, 3, 1, 2)  # (1, C, rows, columns)
    resized = F.interpolate(picture, size=target_grid, mode="bicubic", align_corners=False)
    return cat([embedding[:, :num_prefix_tokens], resized.flatten(2).transpose(1, 2)], dim=1)
