"""Counting, refusing and draining around an application of the test."""

import asyncio
from typing import Any

from modelscope_beit.serving.measures import Measures
from modelscope_beit.serving.open_requests import OpenRequests


async def ask(application: Any, path: str = "/predict") -> tuple[int, dict[str, str]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await application({"type": "http", "path": path, "method": "POST", "headers": []}, receive, send)
    headers = {key.decode().lower(): value.decode() for key, value in sent[0].get("headers", [])}
    return sent[0]["status"], headers


async def good(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_around__refuses_what_is_too_much_but_never_those_who_watch() -> None:
    async def check() -> None:
        measures = Measures()
        open_requests = OpenRequests(measures, most=1)
        gate = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/predict":
                await gate.wait()
            await good(scope, receive, send)

        application = open_requests.around(slow)
        first = asyncio.create_task(ask(application))
        await asyncio.sleep(0)
        status, headers = await ask(application)
        assert status == 503
        assert headers["retry-after"] == "1" and headers["connection"] == "close"
        for path in ("/health", "/ready", "/metrics"):
            assert (await ask(application, path))[0] == 200
        assert b"beit_requests_open 1.0" in measures.text()
        gate.set()
        assert (await first)[0] == 200
        assert (await ask(application))[0] == 200
        assert b"beit_requests_open 0.0" in measures.text()

    asyncio.run(check())


def test_around__asks_for_no_connection_again_once_it_drains() -> None:
    async def check() -> None:
        open_requests = OpenRequests(Measures(), most=9)
        application = open_requests.around(good)
        assert "connection" not in (await ask(application))[1]
        open_requests.is_draining = True
        assert (await ask(application))[1]["connection"] == "close"

    asyncio.run(check())


def test_around__counts_an_error_of_the_application_as_500() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("broken")

    async def check() -> None:
        measures = Measures()
        application = OpenRequests(measures, most=9).around(broken)
        try:
            await ask(application)
        except (ValueError, IndexError):
            pass
        assert b'beit_requests_total{code="500",path="/predict"} 1.0' in measures.text()
        assert b"beit_requests_open 0.0" in measures.text()

    asyncio.run(check())
