"""The HTTP side: paths, status codes, the token, OpenAPI. Knows nothing of networks, only of an engine that answers."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp

from modelscope_beit import __version__
from modelscope_beit.errors import BeitError, ImageError
from modelscope_beit.prediction.sources import printable
from modelscope_beit.serving.documentation import ANSWERS, DESCRIPTION, REQUEST_BODY
from modelscope_beit.serving.fetching import Fetcher
from modelscope_beit.serving.host_paths import add_host_paths
from modelscope_beit.serving.measures import Measures
from modelscope_beit.serving.open_requests import OpenRequests
from modelscope_beit.serving.request_bodies import read_pictures
from modelscope_beit.serving.waiting_pictures import QueueFullError
from modelscope_beit.settings.serving import ServingSettings

Fetch = Callable[[str], Awaitable[bytes]]
_RETRY_SECONDS = "1"


class Engine(Protocol):
    """What answers. about: of the model; empty until something is ready. failure: why nothing ever will be."""

    about: dict[str, Any]
    failure: BeitError | None

    @property
    def is_ready(self) -> bool:
        """Whether pictures are answered at once."""

    def start(self) -> None:
        """Begins to get ready."""

    async def stop(self) -> None:
        """Ends everything that was started."""

    async def answer(self, contents: Sequence[bytes], topk: int) -> list[dict[str, Any]]:
        """Returns a row for each content of a picture file; raises QueueFullError."""


class Answering:
    """Pictures of a request -> the body of its answer, within the time that there is."""

    def __init__(self, engine: Engine, settings: ServingSettings, fetch: Fetch) -> None:
        self._engine, self._settings, self._fetch = engine, settings, fetch

    async def __call__(self, pictures: Sequence[bytes | str], topk: int | None) -> tuple[int, dict[str, Any]]:
        """Returns status and body. A picture that cannot be read costs its own row, and the status if it is alone.

        Raises HTTPException: 503 if nothing can be answered now, 504 if it takes too long.
        """
        # Not is_ready: while a worker is replaced, pictures wait.
        if not self._engine.about:
            raise unavailable("No worker is ready yet.")
        try:
            rows = await asyncio.wait_for(self._rows(pictures, topk or self._settings.topk), self._settings.timeout)
        except QueueFullError:
            raise unavailable("Too many pictures wait already.") from None
        except asyncio.TimeoutError:
            raise HTTPException(504, f"There was no answer within {self._settings.timeout:g} seconds.") from None
        failed = [row.pop("status", 422) for row in rows if "error" in row]
        about = {"model": self._engine.about["model"], "version": self._engine.about["version"]}
        body: dict[str, Any] = {"predictions": rows, **about}
        if len(failed) < len(rows):
            return 200, body
        return max(failed), {"detail": rows[0]["error"], **body}

    async def _rows(self, pictures: Sequence[bytes | str], topk: int) -> list[dict[str, Any]]:
        contents = await asyncio.gather(*map(self._content, pictures))
        found = iter(await self._engine.answer([one for one in contents if isinstance(one, bytes)], topk))
        return [next(found) if isinstance(one, bytes) else one for one in contents]

    async def _content(self, picture: bytes | str) -> bytes | dict[str, Any]:
        """Returns the content of a picture, fetched if it is a URL, or the row that says why there is none."""
        if isinstance(picture, bytes):
            return picture
        try:
            return await self._fetch(picture)
        except ImageError as error:
            return {"labels": [], "scores": [], "error": printable(str(error))}


def make_application(
    engine: Engine, settings: ServingSettings, measures: Measures, *, fetch: Fetch | None = None
) -> tuple[FastAPI, OpenRequests]:
    """Returns the application, and what counts its open requests and lets it drain.

    fetch: gives what a URL holds; None: only public addresses do.
    """
    fetcher = Fetcher(most_bytes=settings.max_bytes, seconds=settings.timeout) if settings.allow_urls else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        await engine.stop()
        if fetcher is not None:
            await fetcher.close()

    application = FastAPI(
        title="BEiT v2 image classification", description=DESCRIPTION, version=__version__, lifespan=lifespan
    )
    open_requests = OpenRequests(measures, most=settings.queue)
    application.add_middleware(_counted(open_requests))
    answering = Answering(engine, settings, fetch or fetcher or _fetch_nothing)
    guarded = [Depends(_guard(settings.token))]
    _add_watching(application, engine, open_requests, measures, guarded)

    @application.post("/predict", dependencies=guarded, responses=ANSWERS, openapi_extra={"requestBody": REQUEST_BODY})
    async def predict(
        request: Request, topk: Annotated[int | None, Query(ge=1, description="classes per picture")] = None
    ) -> JSONResponse:
        """Classifies the pictures of a request."""
        asked = await read_pictures(request, settings)
        status, body = await answering(asked.pictures, topk or asked.topk)
        return JSONResponse(body, status)

    add_host_paths(application, answering, settings, guarded)
    return application, open_requests


def unavailable(why: str) -> HTTPException:
    """Returns the error for a request that may be sent again in a second."""
    return HTTPException(503, f"{why} Try again in a second.", {"Retry-After": _RETRY_SECONDS})


def _add_watching(
    application: FastAPI, engine: Engine, open_requests: OpenRequests, measures: Measures, guarded: list[Any]
) -> None:
    """Adds the paths for those who watch: is it alive, is it ready, what has it done."""

    @application.get("/health")
    async def health() -> dict[str, Any]:
        """Tells that the server is alive."""
        # The words of `modelscope server`.
        return {"Code": 200, "Success": True, "RequestId": "", "Message": "success", "Data": {}}

    @application.get("/ready", responses={503: {"description": "No worker is ready, or the server is stopping."}})
    async def ready() -> dict[str, Any]:
        """Tells that pictures are answered, and by which model."""
        if open_requests.is_draining:
            raise unavailable("The server is stopping.")
        if not engine.is_ready:
            raise unavailable("No worker is ready yet.")
        return engine.about

    @application.get("/metrics", dependencies=guarded, response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Gives counters and times in Prometheus's format."""
        return PlainTextResponse(measures.text(), media_type=CONTENT_TYPE_LATEST)


def _counted(open_requests: OpenRequests) -> Any:
    def middleware(application: ASGIApp) -> ASGIApp:
        return open_requests.around(application)

    return middleware


def _guard(token: str | None) -> Callable[..., Awaitable[None]]:
    scheme = HTTPBearer(auto_error=False, description="The token that the server was started with, if it was.")

    async def check(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        if token is None:
            return
        if shown is None or not secrets.compare_digest(shown.credentials.encode(), token.encode()):
            raise HTTPException(401, "A valid bearer token is needed.", {"WWW-Authenticate": "Bearer"})

    return check


async def _fetch_nothing(url: str) -> bytes:
    raise ImageError(f"{url}: this server fetches no URLs.")
