"""What the server counts and measures, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PICTURES = (1, 2, 4, 8, 16, 32, 64, 128)


class Measures:
    """The counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("beit_requests", "Requests answered, by path and status.", ["path", "code"],
                                registry=registry)  # fmt: skip
        self.request_seconds = Histogram("beit_request_seconds", "From the first byte of a request to its answer.",
                                         ["path"], buckets=_SECONDS, registry=registry)  # fmt: skip
        self.pictures = Counter("beit_pictures", "Pictures answered, classified or with an error.", ["outcome"],
                                registry=registry)  # fmt: skip
        self.batch_pictures = Histogram("beit_batch_pictures", "Pictures per pass through the network.",
                                        buckets=_PICTURES, registry=registry)  # fmt: skip
        self.pass_seconds = Histogram("beit_pass_seconds", "Decoding and the network, per pass.", buckets=_SECONDS,
                                      registry=registry)  # fmt: skip
        self.worker_deaths = Counter("beit_worker_deaths", "Workers that ended by themselves and were replaced.",
                                     registry=registry)  # fmt: skip
        self._gauges: dict[str, Gauge] = {
            "queue": Gauge("beit_queue_pictures", "Pictures that wait for a worker.", registry=registry),
            "workers": Gauge("beit_workers_ready", "Workers that can answer.", registry=registry),
            "open": Gauge("beit_requests_open", "Requests that have come and are not answered.", registry=registry),
        }
        for outcome in ("classified", "error"):
            self.pictures.labels(outcome)

    def watch(self, gauge: str, count: Callable[[], int]) -> None:
        """Asks `count` for the value of "queue", "workers" or "open" whenever somebody wants to know."""
        self._gauges[gauge].set_function(count)

    def text(self) -> bytes:
        """Returns everything in Prometheus's text format."""
        return generate_latest(self._registry)
