"""One worker: pictures come in over a socket, rows go out, until the other end closes."""

import logging
import os
import socket
import time
from collections.abc import Callable

from modelscope_beit.errors import BeitError
from modelscope_beit.serving.classifying_batches import BatchClassifier
from modelscope_beit.serving.frames import receive, send

_logger = logging.getLogger(__name__)


def work(connection: socket.socket, open_classifier: Callable[[], BatchClassifier], *, warm_up_batch: int) -> None:
    """Answers batches until the server closes the connection.

    The first message says what is served, after passes that warm up; or, under "error", why nothing can be.
    """
    try:
        classify = open_classifier()
        classify.warm_up(warm_up_batch)
    except BeitError as error:
        send(connection, {"error": str(error)})
        return
    try:
        send(connection, {"pid": os.getpid(), **classify.about})
        with connection.makefile("rb") as stream:
            while (message := receive(stream)) is not None:
                header, contents = message
                start = time.perf_counter()
                rows = classify(contents, header["topk"])
                send(connection, {"rows": rows, "seconds": time.perf_counter() - start})
    except OSError as error:
        _logger.info("The server has gone: %s", error)
