"""The processes of a server on Linux. This one opens the model and forks: first the HTTP server, which needs no torch,
then the workers, whenever the server asks for one.

So all workers share the memory of one opened model, in whatever form it answers, and a new one is there at once. A
worker is connected to the server by a socket of its own and ends when that closes.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from modelscope_beit.errors import BeitError
from modelscope_beit.serving.batching import BatchingEngine
from modelscope_beit.serving.http_server import listen, serve_http
from modelscope_beit.settings.serving import ServingSettings

_logger = logging.getLogger(__name__)

# A connection -> when it has closed. Runs in a process of its own.
Work = Callable[[socket.socket], None]
_WORKER_WANTED = b"w"
# What workers may take to finish a batch that nobody waits for any more.
_END_SECONDS = 5.0


def serve_with_processes(
    settings: ServingSettings, prepare: Callable[[], Work], on_listening: Callable[[str, int], None]
) -> None:
    """Serves until SIGTERM or SIGINT comes, and all accepted requests are answered.

    prepare: opens what workers share and returns what each of them does; it must compute in one thread only, because
    threads do not survive a fork. on_listening: told host and port.
    Raises SettingsError if the server cannot listen, what `prepare` raises, and BeitError if the server fails.
    """
    listening = listen(settings)
    here, there = socket.socketpair()
    server = _fork(lambda: _serve(listening, there, settings), closing=(here,))
    there.close()
    host, port = listening.getsockname()[:2]
    listening.close()
    passed_on: list[int] = []
    try:
        with _passing_signals_on(server) as passed_on:
            on_listening(host, port)
            work = prepare()
            # What is here now is never looked through again, so that its pages stay shared.
            gc.collect()
            gc.freeze()
            _fork_workers(here, work)
    finally:
        here.close()
        status = _end_of(server)
    # It dies of a signal that comes before it has begun.
    if status != 0 and not (passed_on and status == -signal.SIGTERM):
        raise BeitError(f"The server ended with status {status}; the lines above say why.")


def _serve(listening: socket.socket, control: socket.socket, settings: ServingSettings) -> None:
    """The server's process: asks for workers through `control`, which closes if the process that forks has gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # Until uvicorn has its own handlers.
        signal.signal(number, signal.SIG_DFL)
    control.setblocking(False)
    workers = _WorkersByFork(control)
    serve_http(
        listening,
        lambda measures: BatchingEngine(workers.start, settings, measures),
        settings,
        is_alone=workers.are_over,
    )


class _WorkersByFork:
    """Asks the process that holds the model for workers."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._turn = asyncio.Lock()

    async def start(self) -> socket.socket:
        """Returns the connection to a new worker; raises OSError if there can be none."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            await loop.sock_sendall(self._control, _WORKER_WANTED)
            came: asyncio.Future[socket.socket] = loop.create_future()
            loop.add_reader(self._control, self._receive, came)
            try:
                return await came
            finally:
                loop.remove_reader(self._control)

    def _receive(self, came: "asyncio.Future[socket.socket]") -> None:
        try:
            _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except BlockingIOError:
            return
        except OSError as error:
            came.set_exception(error)
            return
        if descriptors:
            came.set_result(socket.socket(fileno=descriptors[0]))
        else:
            came.set_exception(ConnectionError("The process that holds the model has gone."))

    def are_over(self) -> bool:
        """Whether there can be no more workers."""
        try:
            return self._control.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def _fork_workers(control: socket.socket, work: Work) -> None:
    """Forks a worker for each byte that the server sends, until it closes the connection."""
    children: set[int] = set()
    while _received(control):
        _reap(children)
        ours, theirs = socket.socketpair()
        children.add(_fork(partial(work, ours), closing=(control, theirs)))
        ours.close()
        with theirs, suppress(OSError):
            socket.send_fds(control, [_WORKER_WANTED], [theirs.fileno()])
    end = time.monotonic() + _END_SECONDS
    while children and time.monotonic() < end:
        _reap(children)
        time.sleep(0.02)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _reap(children)


def _received(control: socket.socket) -> bool:
    try:
        return control.recv(1) != b""
    except OSError:
        return False


def _reap(children: set[int]) -> None:
    for child in tuple(children):
        with suppress(ChildProcessError):
            if os.waitpid(child, os.WNOHANG)[0] == 0:
                continue
        children.discard(child)


def _fork(run: Callable[[], None], *, closing: tuple[socket.socket, ...]) -> int:
    """Runs a function in a child, which ends with it; returns the child's number. closing: what is not the child's."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for connection in closing:
            connection.close()
        # Ctrl-C in a terminal goes to a whole group; here the first process decides who ends when.
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        run()
        status = 0
    except BeitError as error:
        _logger.error("%s", error)
        status = 2
    except BaseException:
        # Nothing is above us that could tell it: the frames of the parent are not to be returned to.
        _logger.exception("A process of the server failed.")
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _end_of(server: int) -> int:
    """Asks the server to end, if it has not, and returns its exit status."""
    with suppress(ProcessLookupError):
        os.kill(server, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])


@contextmanager
def _passing_signals_on(server: int) -> Iterator[list[int]]:
    """Lets the server decide what a signal means; the second SIGINT, of an impatient person, is passed on as that.

    Gives the list of all that have come.
    """
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> Any:
        with suppress(ProcessLookupError):
            os.kill(server, number if received else signal.SIGTERM)
        received.append(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
