"""What a person may ask of the server: where it listens, how it batches, what it refuses. Standard library only."""

import math
from dataclasses import dataclass, field

from modelscope_beit.errors import SettingsError


@dataclass(frozen=True)
class ServingSettings:
    """How a model is served over HTTP.

    port: 0 takes a free one. workers: processes that classify; with Ray, replicas. topk: classes told per picture
        where a request does not say.
    max_batch: pictures per pass through the network, of several requests together. batch_delay: seconds that an idle
        worker waits for more pictures; 0: it takes what is there, so that batches form only while all are busy.
    queue: pictures that may wait, and requests that may be open, before others are refused.
    max_bytes: of a request, and of a picture that is fetched. max_pixels, max_pictures: of a picture, of a request.
    timeout: seconds until an answer; also for a request's body to arrive, and for a batch before its worker is ended.
    allow_urls: pictures may be fetched from public addresses. token: what a client has to show; None: nothing.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    topk: int = 5
    max_batch: int = 8
    batch_delay: float = 0.0
    queue: int = 256
    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    max_pictures: int = 32
    timeout: float = 30.0
    allow_urls: bool = False
    # Never in a message, a log or a traceback.
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises SettingsError that lists everything that cannot be asked for."""
        least_one = ("workers", "topk", "max_batch", "queue", "max_bytes", "max_pixels", "max_pictures")
        problems = [
            f"{name} must be at least 1, not {value}" for name in least_one if (value := getattr(self, name)) < 1
        ]
        if not 0 <= self.port <= 65535:
            problems.append(f"port must be from 0 to 65535, not {self.port}")
        if not 0 < self.timeout < math.inf:
            problems.append(f"timeout must be a number of seconds above 0, not {self.timeout}")
        if not 0 <= self.batch_delay < self.timeout:
            problems.append(f"batch_delay must be from 0 to timeout ({self.timeout} seconds), not {self.batch_delay}")
        if self.max_pictures > self.queue:
            problems.append(f"a request of max_pictures ({self.max_pictures}) must fit into the queue ({self.queue})")
        if self.token is not None and (not self.token or not self.token.isascii() or not self.token.isprintable()):
            problems.append("the token must be printable ASCII, and not empty")
        if problems:
            raise SettingsError("The model cannot be served like that: " + "; ".join(problems) + ".")
