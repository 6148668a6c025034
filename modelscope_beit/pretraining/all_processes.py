"""Tensors of all processes of a run, through its own group of torch.distributed; alone, of this one. torch only."""

import torch
import torch.distributed as distributed
from torch import Tensor


def add_up(tensor: Tensor) -> Tensor:
    """Adds the tensors of all processes up, in place, and returns it; the bits are the same in all of them."""
    if _are_many():
        distributed.all_reduce(tensor)
    return tensor


def take_from_first(tensor: Tensor) -> Tensor:
    """Fills the tensor with its values in the first process, and returns it."""
    if _are_many():
        distributed.broadcast(tensor, src=0)
    return tensor


def gather_rows(rows: Tensor) -> Tensor:
    """Returns the rows (N, ...) of all processes one below the other, in their order; each may have another N."""
    if not _are_many():
        return rows
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, own)
    sizes = [int(count) for count in counts]
    # Every process has to send equally much.
    padded = torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])]).contiguous()
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def count_processes() -> int:
    """Returns the number of processes."""
    return distributed.get_world_size() if _are_many() else 1


def is_first() -> bool:
    """Tells whether this is the first process, or the only one."""
    return not _are_many() or distributed.get_rank() == 0


def _are_many() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
