"""The queue between requests and workers: whoever is free takes what waits, in order, as one batch. asyncio only."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class QueueFullError(Exception):
    """There is no room for the pictures of a request."""


@dataclass(eq=False)
class WaitingPicture:
    """A picture of a request, and the row that will be its answer. deaths: workers that ended while they had it."""

    content: bytes
    topk: int
    row: "asyncio.Future[dict[str, Any]]"
    deaths: int = 0
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class WaitingPictures:
    """Pictures in the order in which they came. room: how many may wait. delay: seconds that a batch may fill up."""

    def __init__(self, room: int, *, delay: float = 0.0) -> None:
        self._room, self._delay = room, delay
        self._pictures: deque[WaitingPicture] = deque()
        self._came = asyncio.Event()
        self._takers = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def offer(self, pictures: Sequence[WaitingPicture]) -> None:
        """Lets pictures wait, all or none; raises QueueFullError if there is no room for them."""
        self._forget_the_abandoned()
        if len(self._pictures) + len(pictures) > self._room:
            raise QueueFullError
        self._pictures.extend(pictures)
        self._came.set()

    def give_back(self, pictures: Sequence[WaitingPicture]) -> None:
        """Lets pictures wait again, before all others: their worker has not answered. There is always room."""
        self._pictures.extendleft(reversed(pictures))
        self._came.set()

    async def take(self, most: int) -> list[WaitingPicture]:
        """Returns a batch: at least one picture, at most `most`, and of what waits only the taker's share.

        A picture that a worker has died with comes alone, so that it takes no others with it. What nobody waits for
        any more is left out. May be cancelled: then nothing is taken.
        """
        self._takers += 1
        try:
            while True:
                self._forget_the_abandoned()
                if self._pictures and (left := self._seconds_to_fill(most)) <= 0:
                    return self._batch(min(most, -(-len(self._pictures) // self._takers)))
                await self._wait(left if self._pictures else None)
        finally:
            self._takers -= 1

    async def _wait(self, seconds: float | None) -> None:
        """Returns when more pictures have come, or so many seconds are over."""
        self._came.clear()
        # Not asyncio.wait_for: before Python 3.12 it may forget that it was cancelled.
        alarm = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._came.set)
        try:
            await self._came.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    def _seconds_to_fill(self, most: int) -> float:
        if not self._delay or len(self._pictures) >= most:
            return 0.0
        return self._pictures[0].since + self._delay - asyncio.get_running_loop().time()

    def _batch(self, size: int) -> list[WaitingPicture]:
        batch = [self._pictures.popleft()]
        while len(batch) < size and not batch[0].deaths and not self._pictures[0].deaths:
            batch.append(self._pictures.popleft())
        return batch

    def _forget_the_abandoned(self) -> None:
        if any(picture.row.done() for picture in self._pictures):
            self._pictures = deque(picture for picture in self._pictures if not picture.row.done())
