"""The queue: order, shares, limits, retries, and nothing lost when somebody gives up."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from modelscope_beit.serving.waiting_pictures import QueueFullError, WaitingPicture, WaitingPictures


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 10))


def pictures(*names: str) -> list[WaitingPicture]:
    loop = asyncio.get_running_loop()
    return [WaitingPicture(name.encode(), 5, loop.create_future()) for name in names]


def names(batch: list[WaitingPicture]) -> str:
    return b"".join(picture.content for picture in batch).decode()


def test_take__gives_what_waits_in_order_and_at_most_so_many() -> None:
    async def check() -> None:
        waiting = WaitingPictures(10)
        waiting.offer(pictures("a", "b"))
        waiting.offer(pictures("c"))
        assert names(await waiting.take(2)) == "ab"
        assert names(await waiting.take(2)) == "c"
        assert len(waiting) == 0

    run(check())


def test_take__waits_for_the_first_picture() -> None:
    async def check() -> None:
        waiting = WaitingPictures(10)
        taker = asyncio.create_task(waiting.take(4))
        await asyncio.sleep(0.01)
        assert not taker.done()
        waiting.offer(pictures("a"))
        assert names(await taker) == "a"

    run(check())


def test_take__shares_what_waits_among_all_who_are_free() -> None:
    async def check() -> None:
        waiting = WaitingPictures(10)
        takers = [asyncio.create_task(waiting.take(8)) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting.offer(pictures(*"abcdef"))
        assert [names(await taker) for taker in takers] == ["abc", "def"]

    run(check())


def test_take__lets_a_batch_fill_up_for_the_delay_and_no_longer() -> None:
    async def check() -> None:
        waiting = WaitingPictures(10, delay=0.15)
        taker = asyncio.create_task(waiting.take(4))
        waiting.offer(pictures("a"))
        await asyncio.sleep(0.05)
        waiting.offer(pictures("b"))
        assert names(await taker) == "ab"
        waiting.offer(pictures(*"cdef"))
        start = asyncio.get_running_loop().time()
        assert names(await waiting.take(4)) == "cdef"
        assert asyncio.get_running_loop().time() - start < 0.1, "a full batch does not wait"

    run(check())


def test_take__ends_the_delay_as_soon_as_the_batch_is_full() -> None:
    async def check() -> None:
        waiting = WaitingPictures(10, delay=5.0)
        taker = asyncio.create_task(waiting.take(3))
        for name in "abc":
            waiting.offer(pictures(name))
            await asyncio.sleep(0.01)
        assert names(await asyncio.wait_for(taker, 2)) == "abc"

    run(check())


def test_take__leaves_out_what_nobody_waits_for_any_more() -> None:
    async def check() -> None:
        waiting = WaitingPictures(10)
        first, second, third = pictures("a", "b", "c")
        waiting.offer([first, second, third])
        first.row.cancel()
        third.row.cancel()
        assert names(await waiting.take(8)) == "b"

    run(check())


def test_take__cancelled_takes_nothing() -> None:
    async def check() -> None:
        waiting = WaitingPictures(10)
        taker = asyncio.create_task(waiting.take(8))
        await asyncio.sleep(0.01)
        waiting.offer(pictures("a"))
        taker.cancel()
        await asyncio.gather(taker, return_exceptions=True)
        assert names(await waiting.take(8)) == "a"

    run(check())


def test_offer__takes_all_or_none() -> None:
    async def check() -> None:
        waiting = WaitingPictures(3)
        waiting.offer(pictures("a", "b"))
        with pytest.raises(QueueFullError):
            waiting.offer(pictures("c", "d"))
        waiting.offer(pictures("e"))
        assert names(await waiting.take(8)) == "abe"

    run(check())


def test_offer__counts_nobody_who_has_given_up() -> None:
    async def check() -> None:
        waiting = WaitingPictures(2)
        abandoned = pictures("a", "b")
        waiting.offer(abandoned)
        for picture in abandoned:
            picture.row.cancel()
        waiting.offer(pictures("c", "d"))
        assert names(await waiting.take(8)) == "cd"

    run(check())


def test_give_back__puts_pictures_first_and_those_that_a_worker_died_with_alone() -> None:
    async def check() -> None:
        waiting = WaitingPictures(3)
        waiting.offer(pictures("c", "d", "e"))
        first, second = pictures("a", "b")
        first.deaths = second.deaths = 1
        waiting.give_back([first, second])
        assert [names(await waiting.take(8)) for _ in range(3)] == ["a", "b", "cde"]

    run(check())
