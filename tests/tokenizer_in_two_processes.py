"""Started by torchrun: tensors go between two processes, and codebooks start and learn; each writes what it then has.

The argument is a folder. Process r of n takes part r of each batch.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as distributed

from modelscope_beit.pretraining.all_processes import add_up, gather_rows, is_first, take_from_first
from modelscope_beit.pretraining.codebook import Codebook
from modelscope_beit.settings.tokenizer import CodebookSettings


def features(step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(4, 10, 8, generator=generator, dtype=torch.float64) + 1.5 * (step % 3 - 1)


def learned(*, revives: bool, rank: int, count: int) -> Codebook:
    """Returns a codebook after its start and six steps."""
    settings = CodebookSettings(num_codes=30, code_width=8, decay=0.9, revive_after=2 if revives else None)
    # What is random in a process must not matter: each gets another seed.
    torch.manual_seed(rank)
    book = Codebook(settings).double()
    book.start(features(0).chunk(count)[rank], seed=0)
    for step in range(6):
        book.learn([book(features(step).chunk(count)[rank])], seed=0)
    return book


def exchanged(rank: int) -> dict[str, object]:
    """Returns what each function of all_processes gives this process."""
    return {
        "rows": gather_rows(torch.full((rank + 1, 2), float(rank)))[:, 0].tolist(),
        "rows of one": list(gather_rows(torch.zeros(rank, 3)).shape),
        "sum": add_up(torch.tensor([rank + 1.0])).item(),
        "of the first": take_from_first(torch.tensor([rank + 5.0])).item(),
        "is first": is_first(),
    }


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    own, number = distributed.get_rank(), distributed.get_world_size()
    found: dict[str, object] = exchanged(own)
    for choice in (False, True):
        found[f"revives {choice}"] = learned(revives=choice, rank=own, count=number).state_dict()
    torch.save(found, Path(sys.argv[1]) / f"{own}.pth")
    distributed.destroy_process_group()
