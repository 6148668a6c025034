"""One of several processes that measure together: measure_in_a_process.py RANK WORLD_SIZE MEETING_FILE OUT_FILE."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from modelscope_beit.data.batches import Batch
from modelscope_beit.errors import CheckpointError
from modelscope_beit.evaluation.measuring import measure

NUM_CLASSES = 7
CLASS_NAMES = tuple("abcdefg")
# Scenario -> number of pictures; none of these is a multiple of the processes times the batch.
SCENARIOS = {"uneven": 11, "fewer pictures than processes": 1, "several labels": 5}


def logits_of(scenario: str) -> torch.Tensor:
    """Logits (N, K) of a scenario; the tests measure a network that passes them on."""
    count = SCENARIOS.get(scenario, 6)
    return torch.randn(count, NUM_CLASSES, generator=torch.Generator().manual_seed(count))


def labels_of(scenario: str) -> torch.Tensor:
    """Class numbers (N,), or (N, K) for the scenario with several labels."""
    logits = logits_of(scenario)
    return (logits > 0.5).float() if scenario == "several labels" else torch.arange(len(logits)) % NUM_CLASSES


def batches_of(logits: torch.Tensor, labels: torch.Tensor, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """Yields every world_size-th picture, two by two."""
    own = torch.arange(rank, len(logits), world_size)
    for indices in own.split(2) if len(own) else ():
        yield Batch(
            images=logits[indices],
            labels=labels[indices],
            indices=indices,
            weights=torch.ones(len(indices)),
            global_size=len(indices) * world_size,
        )


def main(rank: int, world_size: int, meeting_file: str, out_file: str) -> None:
    """Measures every scenario and one that must fail everywhere, and writes what came out."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting_file}", rank=rank, world_size=world_size)
    results: dict[str, object] = {}
    for scenario in SCENARIOS:
        batches = batches_of(logits_of(scenario), labels_of(scenario), rank, world_size)
        results[scenario] = measure(nn.Identity(), batches, class_names=CLASS_NAMES)
    logits = logits_of("damaged")
    logits[3, 0], logits[5, 2] = float("nan"), float("inf")  # both pictures are the second process's
    try:
        measure(nn.Identity(), batches_of(logits, labels_of("damaged"), rank, world_size), class_names=CLASS_NAMES)
    except CheckpointError as error:
        results["damaged"] = str(error)
    Path(out_file).write_bytes(pickle.dumps(results))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
