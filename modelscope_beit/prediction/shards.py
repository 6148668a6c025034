"""Several processes that share one run: which pictures each takes, and the order of what they found.

Each takes whole batches in turn, so that a picture meets the network in the same batch, whatever the number of
processes, and the tables of any number of them are equal. They need not talk to each other.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

from modelscope_beit.errors import BeitError, SettingsError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The share of one process: of `count` processes the one with the number `rank`, from 0 on."""

    rank: int = 0
    count: int = 1

    def all(self) -> "list[Shard]":
        """Returns the shares of all processes, in their order."""
        return [Shard(rank, self.count) for rank in range(self.count)]

    def of(self, items: Iterable[Item], batch_size: int) -> Iterator[Item]:
        """Yields the items of this share: every count-th batch of so many."""
        return (item for place, item in enumerate(items) if place // batch_size % self.count == self.rank)


def own_shard(environment: Mapping[str, str] = os.environ) -> Shard:
    """Returns the share of this process, by RANK and WORLD_SIZE, as torchrun sets them; all without them.

    Raises SettingsError if they are not what they should be.
    """
    rank, count = environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")
    if rank.isdecimal() and count.isdecimal() and int(rank) < int(count):
        return Shard(int(rank), int(count))
    raise SettingsError(
        f"The environment has RANK={rank} and WORLD_SIZE={count}, where a number from 0 on and a larger one are "
        "expected. Set both as torchrun does, or none."
    )


def own_device(wanted: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the device of this process: of those that share a machine, each has a GPU of its own (LOCAL_RANK)."""
    return (
        f"{wanted}:{environment['LOCAL_RANK']}" if wanted in ("cuda", "gpu") and "LOCAL_RANK" in environment else wanted
    )


def interleaved(shares: Sequence[Iterator[Item]], batch_size: int) -> Iterator[Item]:
    """Yields the items of all shares, in the order that they had before Shard.of.

    Raises BeitError at the end if the shares are not of the same items.
    """
    for share in cycle(shares):
        batch = list(islice(share, batch_size))
        yield from batch
        if len(batch) < batch_size:
            break
    for rank, share in enumerate(shares):
        if next(share, None) is not None:
            raise BeitError(
                f"The process {rank} of {len(shares)} has found more pictures than the others: they have changed "
                "during the run. Go on with --resume, or begin anew."
            )
