"""uvicorn, ending without losing a request: first it tells everybody that it will end, then it stops to listen."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from modelscope_beit.errors import SettingsError
from modelscope_beit.serving.application import Engine, make_application
from modelscope_beit.serving.measures import Measures
from modelscope_beit.settings.serving import ServingSettings

_logger = logging.getLogger(__name__)

# From a signal to the last connection that is taken: for those who watch /ready to send nothing more.
_DRAIN_SECONDS = 1.0
# For the requests to be read that come over the last connections.
_LAST_SECONDS = 0.5
_BACKLOG = 1024


def listen(settings: ServingSettings) -> socket.socket:
    """Returns a socket that listens where the settings say; raises SettingsError if that cannot be."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
        # Accepted connections inherit it. asyncio sets it only on sockets that it has made itself; without it the
        # second part of an answer waits 40 ms for the client to acknowledge the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise SettingsError(
            f"The server cannot listen at {settings.host}, port {settings.port}: {error.strerror or error}. Give "
            "another --host or --port; port 0 takes a free one."
        ) from error


def serve_http(
    listening: socket.socket,
    make_engine: Callable[[Measures], Engine],
    settings: ServingSettings,
    *,
    is_alone: Callable[[], bool] = lambda: False,
) -> None:
    """Answers requests until SIGTERM or SIGINT comes, or the process that started this one has gone (is_alone).

    Then all requests that have come are answered; a second SIGINT ends the waiting. Raises BeitError if the engine
    fails.
    """
    measures = Measures()
    engine = make_engine(measures)
    application, open_requests = make_application(engine, settings, measures)
    config = uvicorn.Config(
        application,
        # uvloop closes what it listens to a little later than it is told to: what comes in between is cut.
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        backlog=_BACKLOG,
        # Nothing takes longer than a body and an answer.
        timeout_graceful_shutdown=int(2 * settings.timeout) + 1,
    )
    server = _DrainingServer(config, lambda: is_alone() or engine.failure is not None)
    server.on_draining = lambda: setattr(open_requests, "is_draining", True)
    server.run([listening])
    if engine.failure is not None:
        raise engine.failure


class _DrainingServer(uvicorn.Server):
    """A server that goes on for a second after it was asked to end."""

    on_draining: Callable[[], None]

    def __init__(self, config: uvicorn.Config, is_over: Callable[[], bool]) -> None:
        super().__init__(config)
        self._is_over = is_over
        self._end: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to drain; a second SIGINT waits for nobody."""
        if self._end is not None and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        self._drain()

    async def on_tick(self, counter: int) -> bool:
        """Returns whether it is time to stop to listen."""
        if self._is_over():
            self._drain()
        if self._end is not None and time.monotonic() >= self._end:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends when all requests are answered, those included that have been sent and not been read yet."""
        connected = [connection for listening in sockets or () for connection in _connected(listening)]
        for server in self.servers:
            server.close()
        for connection in connected:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await asyncio.sleep(_LAST_SECONDS)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        """Returns what uvicorn gives to each connection."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _drain(self) -> None:
        if self._end is None:
            self._end = time.monotonic() + _DRAIN_SECONDS
            self.on_draining()


def _connected(listening: socket.socket) -> list[socket.socket]:
    """Returns the connections that the kernel has taken and nobody has asked for: to close now would cut them."""
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(listening.accept()[0])
    return found
