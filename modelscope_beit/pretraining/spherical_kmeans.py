"""K-means on the sphere: directions that unit vectors gather around. torch only.

Source: BEiT v2 (arXiv 2208.06366), section 2.2; unilm/beit2 norm_ema_quantizer.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows whose products with all centres are in memory at once.
_ROWS = 1 << 14


def spherical_kmeans(vectors: Tensor, count: int, *, seed: int, rounds: int = 10) -> Tensor:
    """Returns (count, D) unit vectors, centres of unit vectors (N, D) by the cosine.

    It begins with vectors drawn without repetition, or with it if there are fewer than `count`; a centre that no
    vector is nearest to stays where it is.
    """
    generator = torch.Generator().manual_seed(seed)
    available = len(vectors)
    if available >= count:
        drawn = torch.randperm(available, generator=generator)[:count]
    else:
        drawn = torch.randint(available, (count,), generator=generator)
    centres = vectors[drawn.to(vectors.device)]
    for _ in range(rounds):
        sums, sizes = sums_by_code(vectors, nearest_codes(vectors, centres), count)
        centres = torch.where(sizes[:, None] > 0, F.normalize(sums, dim=-1), centres)
    return centres


def nearest_codes(vectors: Tensor, codes: Tensor) -> Tensor:
    """Returns (N,), the number of the code (K, D) nearest to each vector (N, D); all are of length 1."""
    return torch.cat([(some @ codes.t()).argmax(dim=1) for some in vectors.split(_ROWS)])


def sums_by_code(vectors: Tensor, numbers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns the sum (count, D) of the vectors (N, D) of each number (N,), and how many (count,) these are."""
    sums = vectors.new_zeros(count, vectors.shape[1]).index_add_(0, numbers, vectors)
    return sums, torch.bincount(numbers, minlength=count).to(vectors.dtype)
