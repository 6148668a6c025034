"""The engine behind the server: workers in processes of their own, batches made of what waits, nothing lost.

A worker that dies, or that does not answer in time, is replaced; the pictures that it had go to others.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelscope_beit.errors import BeitError
from modelscope_beit.serving.frames import packed, receive_header
from modelscope_beit.serving.measures import Measures
from modelscope_beit.serving.waiting_pictures import WaitingPicture, WaitingPictures
from modelscope_beit.settings.serving import ServingSettings

_logger = logging.getLogger(__name__)

# Starts a worker and returns the connection to it.
StartWorker = Callable[[], Awaitable[socket.socket]]
# A picture that three workers have died with is not given to another one.
_MOST_DEATHS = 3
_LONGEST_PAUSE = 10.0
# Reading a large model and the first passes; a worker that takes longer hangs.
_START_SECONDS = 600.0


@dataclass
class _Worker:
    """The connection to a worker, and its process, which may be this one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int | None = None

    def kill(self) -> None:
        """Ends a worker that hangs. One that has closed its connection ends by itself, or its number is another's."""
        if self.pid is not None and self.pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class BatchingEngine:
    """Answers pictures by workers. about: what the workers say of the model; empty until the first is ready."""

    def __init__(self, start_worker: StartWorker, settings: ServingSettings, measures: Measures) -> None:
        self._start_worker, self._settings, self._measures = start_worker, settings, measures
        self._waiting = WaitingPictures(settings.queue, delay=settings.batch_delay)
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = 0
        self.about: dict[str, Any] = {}
        self.failure: BeitError | None = None
        measures.watch("queue", lambda: len(self._waiting))
        measures.watch("workers", lambda: self._ready)

    @property
    def is_ready(self) -> bool:
        """Whether a worker can answer."""
        return self._ready > 0

    def start(self) -> None:
        """Begins to start the workers; is_ready tells when the first one has warmed up."""
        self._tasks = [asyncio.create_task(self._keep_a_worker()) for _ in range(self._settings.workers)]

    async def stop(self) -> None:
        """Ends the workers. Requests that are still open get no answer: stop when there are none."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answer(self, contents: Sequence[bytes], topk: int) -> list[dict[str, Any]]:
        """Returns a row for each content of a picture file. Raises QueueFullError if too many wait."""
        loop = asyncio.get_running_loop()
        pictures = [WaitingPicture(content, topk, loop.create_future()) for content in contents]
        self._waiting.offer(pictures)
        try:
            return list(await asyncio.gather(*(picture.row for picture in pictures)))
        finally:
            # Who gave up waiting has cancelled them, which takes them out of the queue.
            for picture in pictures:
                picture.row.cancel()

    async def _keep_a_worker(self) -> None:
        """Starts a worker, and another one whenever it has ended; the faster they end, the later."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            try:
                answered = await self._use_a_worker()
            except Exception:  # noqa: BLE001 - a server with a worker less would say nothing of it
                _logger.exception("A worker was lost in a way that was not foreseen; another one is started.")
                answered = 0
            self._measures.worker_deaths.inc()
            if self.failure is not None:
                return
            pause = 0.0 if answered else min(_LONGEST_PAUSE, 2 * pause + 0.1)

    async def _use_a_worker(self) -> int:
        """Gives batches to a new worker until it ends; returns how many it has answered."""
        answered = 0
        try:
            worker = _Worker(*await asyncio.open_connection(sock=await self._start_worker()))
        except OSError as error:
            _logger.warning("A worker could not be started: %s", error)
            return 0
        try:
            about = await asyncio.wait_for(receive_header(worker.reader), _START_SECONDS)
            if "error" in about:
                self.failure = BeitError(about["error"])
                return 0
            worker.pid = about.pop("pid")
            self.about = about
            self._ready += 1
            try:
                while await self._answer_a_batch(worker):
                    answered += 1
            finally:
                self._ready -= 1
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            _logger.warning("A worker did not get ready: %r", error)
        finally:
            # Which ends it, if it has not ended.
            worker.writer.close()
        return answered

    async def _answer_a_batch(self, worker: "_Worker") -> bool:
        """Waits for a batch and has it answered; returns whether the worker is still there."""
        # The worker says nothing unless it is asked: what comes before is its end.
        answer = asyncio.create_task(receive_header(worker.reader))
        batch_task = asyncio.create_task(self._waiting.take(self._settings.max_batch))
        try:
            await asyncio.wait((answer, batch_task), return_when=asyncio.FIRST_COMPLETED)
            if not batch_task.done():
                return False
            return await self._exchange(batch_task.result(), answer, worker)
        finally:
            batch_task.cancel()
            answer.cancel()
            # Their errors have been dealt with.
            await asyncio.gather(batch_task, answer, return_exceptions=True)

    async def _exchange(
        self, batch: list[WaitingPicture], answer: "asyncio.Task[dict[str, Any]]", worker: "_Worker"
    ) -> bool:
        topk = max(picture.topk for picture in batch)
        try:
            worker.writer.writelines(packed({"topk": topk}, [picture.content for picture in batch]))
            message = await asyncio.wait_for(answer, self._settings.timeout)
            seconds, rows = message["seconds"], list(zip(batch, message["rows"], strict=True))
            for picture, row in rows:
                self._settle(picture, row)
        except asyncio.TimeoutError as error:
            worker.kill()
            self._retry(batch, error)
            return False
        except asyncio.CancelledError:
            self._waiting.give_back(batch)
            raise
        except Exception as error:  # noqa: BLE001 - it died, or says what is no answer: told and tried again in _retry
            self._retry(batch, error)
            return False
        self._measures.batch_pictures.observe(len(batch))
        self._measures.pass_seconds.observe(seconds)
        return True

    def _retry(self, batch: list[WaitingPicture], error: Exception) -> None:
        """Lets the pictures of a worker that has not answered wait again, unless it has happened to them too often."""
        again = []
        for picture in batch:
            if picture.row.done():
                continue
            picture.deaths += 1
            if picture.deaths < _MOST_DEATHS:
                again.append(picture)
            else:
                self._settle(picture, {"labels": [], "scores": [], "error": _given_up(), "status": 500})
        _logger.warning("A worker ended with %d pictures (%r); %d wait for another.", len(batch), error, len(again))
        self._waiting.give_back(again)

    def _settle(self, picture: WaitingPicture, row: dict[str, Any]) -> None:
        self._measures.pictures.labels("error" if "error" in row else "classified").inc()
        if not picture.row.done():
            shorter = {name: row[name][: picture.topk] for name in ("labels", "scores")}
            picture.row.set_result(row | shorter)


def _given_up() -> str:
    return f"{_MOST_DEATHS} workers of the server ended while they had this picture, so it is not tried again."
