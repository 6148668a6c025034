"""The same server in one process, for systems other than Linux: the worker is a thread, and there is one of it."""

import socket
import threading
from collections.abc import Callable

from modelscope_beit.errors import SettingsError
from modelscope_beit.serving.batching import BatchingEngine
from modelscope_beit.serving.http_server import listen, serve_http
from modelscope_beit.settings.serving import ServingSettings

# For a worker to find its connection closed; one that hangs, or is still opening its model, is waited for no longer.
_LAST_SECONDS = 10.0


def serve_with_a_thread(
    settings: ServingSettings, work: Callable[[socket.socket], None], on_listening: Callable[[str, int], None]
) -> None:
    """Serves until SIGTERM or SIGINT comes, and all accepted requests are answered.

    work: what the worker does; see processes.py. on_listening: told host and port.
    Raises SettingsError for several workers, or if the server cannot listen, BeitError if the model cannot be opened.
    """
    if settings.workers > 1:
        raise SettingsError(f"On this system a model is served by one worker, not by {settings.workers}.")
    listening = listen(settings)
    on_listening(*listening.getsockname()[:2])

    workers: list[threading.Thread] = []

    async def start_worker() -> socket.socket:
        ours, theirs = socket.socketpair()
        workers.append(threading.Thread(target=_work, args=(work, ours), daemon=True))
        workers[-1].start()
        return theirs

    try:
        serve_http(listening, lambda measures: BatchingEngine(start_worker, settings, measures), settings)
    finally:
        # The interpreter must not end under a thread that is on its way out of torch: that is an abort, not status 0.
        for worker in workers:
            worker.join(_LAST_SECONDS)


def _work(work: Callable[[socket.socket], None], connection: socket.socket) -> None:
    # It closes when the work has ended, by an error too, so that the server starts another worker.
    with connection:
        work(connection)
