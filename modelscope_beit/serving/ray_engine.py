"""The engine on many machines: replicas of Ray Serve classify, and make the batches. HTTP stays with this process."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from modelscope_beit.errors import BeitError, require
from modelscope_beit.serving.http_server import listen, serve_http
from modelscope_beit.serving.measures import Measures
from modelscope_beit.serving.opening import open_classifier
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.serving.waiting_pictures import QueueFullError
from modelscope_beit.settings.serving import ServingSettings

_PURPOSE = "to serve with --engine ray"
_APPLICATION = "beit"
# A picture whose replica dies is given to another one, so many times in all.
_MOST_TRIES = 3


def serve_on_ray(model: ServedModel, settings: ServingSettings, on_listening: Callable[[str, int], None]) -> None:
    """Serves until SIGTERM or SIGINT comes, and all accepted requests are answered.

    Joins the cluster that RAY_ADDRESS names, or begins one here and ends it. Raises as serving.serve.serve does.
    """
    ray = require("ray", extra="ray", purpose=_PURPOSE)
    ray_serve = require("ray.serve", extra="ray", purpose=_PURPOSE)
    listening = listen(settings)
    # What people run here is told to nobody, unless they wish so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(log_to_driver=False, logging_level="WARNING")
    try:
        # Serve's own HTTP server is left out: the limits, the token and the metrics are those of ours.
        ray_serve.start(proxy_location="Disabled")
        on_listening(*listening.getsockname()[:2])
        serve_http(listening, lambda measures: _RayEngine(ray, ray_serve, model, settings, measures), settings)
    finally:
        listening.close()
        ray_serve.shutdown()
        if is_ours:
            ray.shutdown()


class _RayEngine:
    """Answers pictures by the replicas of a deployment. See application.Engine."""

    def __init__(
        self, ray: Any, ray_serve: Any, model: ServedModel, settings: ServingSettings, measures: Measures
    ) -> None:
        self._ray, self._ray_serve, self._model, self._settings = ray, ray_serve, model, settings
        self._measures = measures
        self._handle: Any = None
        self._waiting = 0
        self._beginning: asyncio.Task[None] | None = None
        self.about: dict[str, Any] = {}
        self.failure: BeitError | None = None
        measures.watch("queue", lambda: self._waiting)
        measures.watch("workers", lambda: settings.workers if self._handle is not None else 0)

    @property
    def is_ready(self) -> bool:
        """Whether the deployment is there."""
        return self._handle is not None

    def start(self) -> None:
        """Begins to start the replicas."""
        self._beginning = asyncio.create_task(self._begin())

    async def stop(self) -> None:
        """Leaves the replicas to the shutdown of Serve."""
        assert self._beginning is not None
        self._beginning.cancel()

    async def answer(self, contents: Sequence[bytes], topk: int) -> list[dict[str, Any]]:
        """Returns a row for each content; raises QueueFullError if too many wait."""
        if self._waiting + len(contents) > self._settings.queue:
            raise QueueFullError
        self._waiting += len(contents)
        try:
            return list(await asyncio.gather(*(self._row(content, topk) for content in contents)))
        finally:
            self._waiting -= len(contents)

    async def _begin(self) -> None:
        replica = _replica(self._ray_serve, self._model, self._settings)
        run = self._ray_serve.run
        try:
            handle = await asyncio.to_thread(run, replica, name=_APPLICATION, route_prefix=None)
            self.about = await handle.about.remote()
        # RuntimeError: of Serve, with what the replica's constructor has raised.
        except (self._ray.exceptions.RayError, RuntimeError) as error:
            self.failure = BeitError(f"The replicas of Ray Serve could not be started. Each needs the model. {error}")
            return
        self._handle = handle

    async def _row(self, content: bytes, topk: int) -> dict[str, Any]:
        for _ in range(_MOST_TRIES):
            try:
                row: dict[str, Any] = await self._handle.remote(content, topk)
                self._measures.pictures.labels("error" if "error" in row else "classified").inc()
                return row
            except self._ray.exceptions.RayActorError:
                self._measures.worker_deaths.inc()
        return {"labels": [], "scores": [], "error": "The replicas ended while they had this picture.", "status": 500}


def _replica(ray_serve: Any, model: ServedModel, settings: ServingSettings) -> Any:
    """Returns the application of Serve's: replicas with a model of their own each, and batches made in front of it."""

    class Replica:
        def __init__(self) -> None:
            self._classifier = open_classifier(model, settings, threads=1)
            self._classifier.warm_up(settings.max_batch)

        async def about(self) -> dict[str, Any]:
            return self._classifier.about

        @ray_serve.batch(max_batch_size=settings.max_batch, batch_wait_timeout_s=settings.batch_delay)
        async def classify(self, contents: list[bytes], topks: list[int]) -> list[dict[str, Any]]:
            rows = await asyncio.to_thread(self._classifier, contents, max(topks))
            return [
                row | {name: row[name][:topk] for name in ("labels", "scores")}
                for row, topk in zip(rows, topks, strict=True)
            ]

        async def __call__(self, content: bytes, topk: int) -> Any:
            return await self.classify(content, topk)

    deployment = ray_serve.deployment(
        Replica,
        name="classifier",
        num_replicas=settings.workers,
        max_ongoing_requests=2 * settings.max_batch,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(model.device.startswith(("cuda", "gpu")))},
    )
    return deployment.bind()
