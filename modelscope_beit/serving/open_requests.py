"""Counts the requests that are open, refuses more than there may be, and lets a server end without losing one."""

import time

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelscope_beit.serving.measures import Measures

# Whoever watches a busy server must not be refused.
_ALWAYS = ("/health", "/ready", "/metrics")
_KNOWN = (*_ALWAYS, "/predict", "/call", "/describe", "/docs", "/openapi.json")


class OpenRequests:
    """The requests of a server that have come and are not answered. most: of those that classify.

    is_draining: the server will end; answers tell clients to use no connection again.
    """

    def __init__(self, measures: Measures, *, most: int) -> None:
        self._measures, self._most = measures, most
        self._count = 0
        self.is_draining = False
        measures.watch("open", lambda: self._count)

    def around(self, application: ASGIApp) -> ASGIApp:
        """Returns the application with its requests counted and measured."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await application(scope, receive, send)
            start, status = time.perf_counter(), 500

            async def send_counted(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    if self.is_draining:
                        MutableHeaders(scope=message)["Connection"] = "close"
                await send(message)

            path = scope["path"] if scope["path"] in _KNOWN else "other"
            is_refused = self._count >= self._most and path not in _ALWAYS
            self._count += 1
            try:
                await (_refusal() if is_refused else application)(scope, receive, send_counted)
            finally:
                self._count -= 1
                self._measures.requests.labels(path, status).inc()
                self._measures.request_seconds.labels(path).observe(time.perf_counter() - start)

        return counted


def _refusal() -> JSONResponse:
    # Before its body is read: the connection cannot be used again.
    headers = {"Retry-After": "1", "Connection": "close"}
    return JSONResponse({"detail": "Too many requests are open. Try again in a second."}, 503, headers)
