"""The engine with workers that are threads of the test, so that each can be told when to answer, hang or die."""

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelscope_beit.serving.batching import BatchingEngine
from modelscope_beit.serving.frames import receive, send
from modelscope_beit.serving.measures import Measures
from modelscope_beit.serving.waiting_pictures import QueueFullError
from modelscope_beit.settings.serving import ServingSettings


@dataclass
class Workers:
    """Starts workers that answer with the content of each picture. b"deadly" ends them, b"hang" takes for ever.

    gate: closed, nobody answers. dies_first: so many workers end with their first batch. short_first: so many leave out
    a row of theirs. silent_first: so many leave out the scores of the last row.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    dies_first: int = 0
    short_first: int = 0
    silent_first: int = 0
    started: int = 0
    batches: list[list[bytes]] = field(default_factory=list)
    refusal: str | None = None

    async def start(self) -> socket.socket:
        self.started += 1
        ours, theirs = socket.socketpair()
        ends = [self.started <= count for count in (self.dies_first, self.short_first, self.silent_first)]
        threading.Thread(target=self._work, args=(ours, *ends), daemon=True).start()
        return theirs

    def _work(self, connection: socket.socket, dies: bool, is_short: bool, is_silent: bool) -> None:
        with connection, connection.makefile("rb") as stream:
            if self.refusal is not None:
                return send(connection, {"error": self.refusal})
            # Of the engine's own process, so that it is not killed.
            send(connection, {"pid": os.getpid(), "model": "sha256:0"})
            while (message := receive(stream)) is not None:
                header, contents = message
                self.batches.append(contents)
                self.gate.wait(10)
                if dies or b"deadly" in contents:
                    return
                if b"hang" in contents:
                    threading.Event().wait(3)
                rows = [
                    {"labels": [content.decode()] * header["topk"], "scores": [1.0] * header["topk"]}
                    for content in contents[is_short:]
                ]
                if is_silent:
                    del rows[-1]["scores"]
                with suppress(BrokenPipeError):
                    send(connection, {"rows": rows, "seconds": 0.0})


def run(
    check: Callable[[BatchingEngine], Awaitable[None]], workers: Workers, /, *, is_open: bool = True, **settings: Any
) -> Measures:
    measures = Measures()

    async def whole() -> None:
        engine = BatchingEngine(workers.start, ServingSettings(**settings), measures)
        if is_open:
            workers.gate.set()
        engine.start()
        while not engine.is_ready and engine.failure is None:
            await asyncio.sleep(0.005)
        await check(engine)
        workers.gate.set()
        await engine.stop()

    asyncio.run(asyncio.wait_for(whole(), 30))
    return measures


def labels(rows: list[dict[str, Any]]) -> list[str]:
    return [row["labels"][0] if row["labels"] else "-" for row in rows]


async def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


def test_answer__keeps_each_requests_own_pictures_and_topk() -> None:
    async def check(engine: BatchingEngine) -> None:
        requests = [engine.answer([f"{n}{m}".encode() for m in range(n % 3 + 1)], n % 4 + 1) for n in range(40)]
        for n, rows in enumerate(await asyncio.gather(*requests)):
            assert labels(rows) == [f"{n}{m}" for m in range(n % 3 + 1)]
            assert all(len(row["labels"]) == len(row["scores"]) == n % 4 + 1 for row in rows)

    run(check, Workers(), workers=2)


def test_answer__puts_what_came_meanwhile_into_one_pass() -> None:
    workers = Workers()

    async def check(engine: BatchingEngine) -> None:
        first = asyncio.create_task(engine.answer([b"0"], 1))
        await wait_until(lambda: bool(workers.batches))
        others = [asyncio.create_task(engine.answer([str(n).encode()], 1)) for n in range(1, 7)]
        await asyncio.sleep(0.05)
        workers.gate.set()
        await asyncio.gather(first, *others)

    measures = run(check, workers, is_open=False, max_batch=4)
    assert [len(batch) for batch in workers.batches] == [1, 4, 2]
    assert b"beit_batch_pictures_sum 7.0" in measures.text()


def test_answer__loses_nothing_when_workers_die() -> None:
    workers = Workers(dies_first=2)

    async def check(engine: BatchingEngine) -> None:
        rows = await asyncio.gather(*(engine.answer([str(n).encode()], 1) for n in range(20)))
        assert [labels(row) for row in rows] == [[str(n)] for n in range(20)]

    measures = run(check, workers, workers=2)
    assert workers.started == 4
    assert b"beit_worker_deaths_total 2.0" in measures.text()


@pytest.mark.parametrize("left_out", ["short_first", "silent_first"])
def test_answer__goes_to_another_worker_when_one_leaves_something_out(left_out: str) -> None:
    workers = Workers(**{left_out: 1})

    async def check(engine: BatchingEngine) -> None:
        rows = await engine.answer([b"a", b"b"], 1)
        assert [row["labels"] for row in rows] == [["a"], ["b"]]

    run(check, workers)
    assert workers.started == 2


def test_answer__comes_from_the_next_worker_after_a_start_that_failed_in_its_own_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers, start = Workers(), Workers.start
    failures = [RuntimeError("no thread could be started")]

    async def failing_once(self: Workers) -> socket.socket:
        if failures:
            raise failures.pop()
        return await start(self)

    async def check(engine: BatchingEngine) -> None:
        (row,) = await engine.answer([b"a"], 1)
        assert row["labels"] == ["a"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "start", failing_once)
        run(check, workers)
    assert "no thread could be started" in caplog.text


def test_answer__gives_up_the_deadly_picture_only() -> None:
    workers = Workers()

    async def check(engine: BatchingEngine) -> None:
        rows = await engine.answer([b"a", b"deadly", b"b", b"c"], 1)
        assert labels(rows) == ["a", "-", "b", "c"]
        assert rows[1]["status"] == 500
        assert "3 workers" in rows[1]["error"]

    run(check, workers)
    assert workers.started == 4


def test_answer__replaces_a_worker_that_hangs() -> None:
    async def check(engine: BatchingEngine) -> None:
        hanging = asyncio.create_task(engine.answer([b"hang"], 1))
        await asyncio.sleep(0.05)
        # Its client gives up, as the application does after the time that there is.
        hanging.cancel()
        assert labels(await engine.answer([b"good"], 1)) == ["good"]

    workers = Workers()
    run(check, workers, timeout=0.3)
    assert workers.started == 2


def test_answer__refuses_what_has_no_room() -> None:
    workers = Workers()

    async def check(engine: BatchingEngine) -> None:
        taken = asyncio.create_task(engine.answer([b"taken"], 1))
        await wait_until(lambda: bool(workers.batches))
        waiting = asyncio.create_task(engine.answer([b"1", b"2"], 1))
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError):
            await engine.answer([b"3"], 1)
        workers.gate.set()
        assert labels(await taken) + labels(await waiting) == ["taken", "1", "2"]

    run(check, workers, is_open=False, queue=2, max_pictures=2)


def test_start__tells_why_a_model_cannot_be_opened() -> None:
    async def check(engine: BatchingEngine) -> None:
        assert "no such folder" in str(engine.failure)
        assert not engine.is_ready

    workers = Workers(refusal="no such folder")
    run(check, workers)
    assert workers.started == 1


def test_worker__that_ends_while_it_has_nothing_to_do_is_replaced_before_the_next_picture() -> None:
    connections: list[socket.socket] = []
    workers = Workers()

    async def start() -> socket.socket:
        connections.append(await workers.start())
        return connections[-1]

    async def whole() -> None:
        engine = BatchingEngine(start, ServingSettings(), Measures())
        workers.gate.set()
        engine.start()
        await wait_until(lambda: engine.is_ready)
        connections[0].shutdown(socket.SHUT_RDWR)
        await wait_until(lambda: len(connections) == 2 and engine.is_ready)
        assert workers.batches == []
        await engine.stop()

    asyncio.run(asyncio.wait_for(whole(), 10))
