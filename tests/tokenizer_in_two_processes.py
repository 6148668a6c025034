"""Started by torchrun: a tokenizer is trained by the loop, then tensors go between two processes, and codebooks learn.

The arguments are a folder of pictures and one for what the processes then have. Process r of n takes part r of a batch.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as distributed

from modelscope_beit.pretraining.all_processes import add_up, gather_rows, is_first, take_from_first
from modelscope_beit.pretraining.codebook import Codebook
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.pretraining.tokenizer_stage import TokenizerStage
from modelscope_beit.settings.tokenizer import CodebookSettings
from tiny_tokenizer import tiny_teacher, tiny_tokenizer
from toy_run import make_job


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


def trained(pictures: Path, run: Path, batch_size: int) -> dict[str, torch.Tensor]:
    """Returns the weights and codes after four steps, with two batches each."""
    stage = TokenizerStage(tiny_tokenizer(), tiny_teacher())
    changes = {"epochs": None, "iterations": 8, "warm_up_iterations": 1, "accumulation": 2, "gauge_pictures": 0}
    # AdamW's first steps have the sign of a gradient, whatever its size: where that is rounding, so is the step.
    changes |= {"eps": 1e-3}
    pretrain(make_job(pictures, run, stage, batch_size=batch_size, **changes))  # type: ignore[arg-type]
    return stage.network.state_dict()


if __name__ == "__main__":
    place, count = Path(sys.argv[2]), int(os.environ["WORLD_SIZE"])
    weights = trained(Path(sys.argv[1]), place / "run", 4 // count)
    own, number = distributed.get_rank(), distributed.get_world_size()
    found: dict[str, object] = {"trained": weights, **exchanged(own)}
    for choice in (False, True):
        found[f"revives {choice}"] = learned(revives=choice, rank=own, count=number).state_dict()
    torch.save(found, place / f"{own}.pth")
