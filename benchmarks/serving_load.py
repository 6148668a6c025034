"""Clients of a server: they ask as fast as they are answered, and compare every answer with the one expected."""

import base64
import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

SIDES = ((500, 375), (375, 500), (320, 240), (427, 427))
# Batches of other sizes may round otherwise.
TOLERANCE = 2e-5
# Too much waits, or an answer takes too long: no answer, but told so.
REFUSALS = (503, 504)
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Asked:
    """A picture file, and the row that it must be answered with."""

    content: bytes
    row: dict[str, Any]


@dataclass
class Counts:
    """What clients saw. lost: requests without an answer; wrong: with another one than expected.

    refused: with 503 or 504. pictures: that were answered, with an error too; broken: that were asked for and are none.
    latencies: seconds, in `load` of right answers only: a quick refusal is no speed.
    """

    answers: int = 0
    pictures: int = 0
    broken: int = 0
    wrong: int = 0
    refused: int = 0
    lost: int = 0
    latencies: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def complain(self, text: str) -> None:
        """Keeps the first few complaints."""
        if len(self.complaints) < 20:
            self.complaints.append(text)


class Client:
    """One connection to a server, opened again when it is closed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)

    def post(self, path: str, body: bytes, kind: str) -> tuple[int, Any]:
        """Returns status and parsed answer, {} if it is no JSON; raises OSError or HTTPException if there is none."""
        try:
            self._connection.request("POST", path, body, {"Content-Type": kind})
            answer = self._connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        try:
            return status, json.loads(content)
        except ValueError:
            return status, {}


def make_photographs(place: Path, count: int) -> list[Path]:
    """Writes JPEG files of usual sizes, cut out of two photographs."""
    sources = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    paths = []
    for number in range(count):
        width, height = SIDES[number % len(SIDES)]
        left, top = 7 * number % 100, 5 * number % 40
        part = sources[number % 2].resize((700, 550)).crop((left, top, left + width, top + height))
        paths.append(place / f"{number:03}.jpg")
        part.save(paths[-1], quality=90)
    return paths


def is_right(row: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Tells whether a row is the expected one: the same classes, and probabilities but for rounding."""
    if ("error" in row) != ("error" in expected):
        return False
    if "error" in expected:
        return not row["labels"]
    return list(row["labels"]) == list(expected["labels"]) and bool(
        np.allclose(row["scores"], expected["scores"], rtol=0, atol=TOLERANCE)
    )


def count_alike(pictures: Sequence[Asked]) -> int:
    """Returns how many pairs of pictures have answers so alike that one in place of the other would not be seen."""
    return sum(is_right(one.row, other.row) for one, other in combinations(pictures, 2))


def single_request(asked: Asked, *, as_json: bool) -> tuple[bytes, str]:
    """Returns body and type of a request with one picture; as_json: as LitServe's example wants it."""
    if not as_json:
        return asked.content, "image/jpeg"
    return json.dumps({"image": base64.b64encode(asked.content).decode()}).encode(), "application/json"


def load(port: int, clients: int, seconds: float, pictures: Sequence[Asked], *, as_json: bool = False) -> Counts:
    """Returns what so many clients saw in so many seconds; a request that has begun is waited for."""
    bodies = [single_request(asked, as_json=as_json) for asked in pictures]
    counts, end = Counts(), time.perf_counter() + seconds

    def ask(number: int) -> None:
        client, turn = Client(port), number
        while time.perf_counter() < end:
            turn += clients
            asked, start = pictures[turn % len(pictures)], time.perf_counter()
            try:
                status, answer = client.post("/predict", *bodies[turn % len(pictures)])
            except (OSError, http.client.HTTPException) as error:
                with counts.lock:
                    counts.lost += 1
                    counts.complain(repr(error))
                continue
            right = status == 200 and is_right(answer["predictions"][0], asked.row)
            with counts.lock:
                counts.answers += 1
                if right:
                    counts.pictures += 1
                    counts.latencies.append(time.perf_counter() - start)
                    continue
                counts.complain(f"{status} {answer}"[:300])
                if status in REFUSALS:
                    counts.refused += 1
                else:
                    counts.wrong += 1

    in_threads(ask, clients)
    return counts


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Runs the same work in several threads, and waits for all of them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
