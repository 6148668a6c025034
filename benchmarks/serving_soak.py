"""A server under load for minutes, while its workers are killed, pictures are broken and its memory is watched."""

import base64
import http.client
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from serving_load import Asked, Client, Counts, in_threads, is_right

CLIENTS = 8
BROKEN = 0.05
SEVERAL = 0.25
KILL_SECONDS = (5.0, 15.0)
WATCH_SECONDS = 2.0
# Of what the memory is at the end and was at the beginning: without what the first minute brings.
FIRST_SECONDS = 60.0


def soak(
    server: subprocess.Popen, port: int, pictures: Sequence[Asked], seconds: float, console: Console
) -> dict[str, Any]:
    """Returns what clients saw, each second's memory, and how the server ended, by SIGTERM while it is asked.

    pictures: the last one is broken, and one of twenty that are asked for is that one.
    """
    counts, killed, memory = Counts(), [], []
    start = time.monotonic()
    ended = threading.Event()
    end = start + seconds

    def watch() -> None:
        while not ended.wait(WATCH_SECONDS):
            if time.monotonic() < end:
                memory.append((round(time.monotonic() - start, 1), memory_of(server.pid)))

    def kill() -> None:
        chance = random.Random(0)
        while not ended.wait(chance.uniform(*KILL_SECONDS)) and time.monotonic() < end:
            worker = chance.choice(workers_of(server.pid) or [0])
            with suppress(ProcessLookupError):
                if worker:
                    os.kill(worker, signal.SIGKILL)
                    killed.append(worker)

    watchers = [threading.Thread(target=one) for one in (watch, kill)]
    for one in watchers:
        one.start()
    with console.status(f"soaking for {seconds / 60:g} minutes"):
        stopping = threading.Timer(seconds, server.terminate)
        stopping.start()
        in_threads(lambda number: ask(number, port, pictures, counts, end), CLIENTS)
        ended.set()
    for one in (*watchers, stopping):
        one.join()
    told = {name: getattr(counts, name) for name in ("answers", "pictures", "broken", "wrong", "lost")}
    told |= {"workers_killed": len(killed), "exit_status": server.wait(60)}
    percentiles = {f"p{one}_seconds": float(np.percentile(counts.latencies, one)) for one in (50, 99)}
    summary = memory_summary(memory)
    return {
        "counts": told | percentiles,
        "complaints": counts.complaints,
        "memory": {"summary": summary, "mib": memory},
    }


def ask(number: int, port: int, pictures: Sequence[Asked], counts: Counts, end: float) -> None:
    """Asks until the server refuses connections after `end`. A request that was sent must be answered."""
    chance, client = random.Random(number), Client(port)
    while True:
        several = chance.random() < SEVERAL
        asked = [pick(pictures, chance) for _ in range(chance.randint(2, 6) if several else 1)]
        start = time.monotonic()
        try:
            status, answer = post(client, asked, several)
        except ConnectionRefusedError:
            if time.monotonic() >= end:
                return
            status, answer = 0, {}
        except (OSError, http.client.HTTPException) as error:
            status, answer = 0, {"detail": repr(error)}
        good = [one for one in asked if "error" not in one.row]
        rows = answer.get("predictions", [])
        right = status == (200 if good else 422) and all(map(is_right, rows, [one.row for one in asked]))
        with counts.lock:
            counts.latencies.append(time.monotonic() - start)
            counts.broken += len(asked) - len(good)
            if status == 0:
                counts.lost += 1
            else:
                counts.answers += 1
                counts.pictures += len(rows)
                counts.wrong += not (right and len(rows) == len(asked))
            if status == 0 or not right:
                counts.complain(f"{time.monotonic() - end:.1f} s: {status} {answer}"[:300])
        if status == 0:
            # Of a server that has gone, not every microsecond's refusal is counted.
            time.sleep(0.1)


def post(client: Client, asked: Sequence[Asked], several: bool) -> tuple[int, Any]:
    """Sends one picture as it is, or several as base64."""
    if not several:
        return client.post("/predict", asked[0].content, "image/jpeg")
    images = [base64.b64encode(one.content).decode() for one in asked]
    return client.post("/predict", json.dumps({"images": images}).encode(), "application/json")


def pick(pictures: Sequence[Asked], chance: random.Random) -> Asked:
    """Returns the broken picture now and then, else any other."""
    return pictures[-1] if chance.random() < BROKEN else pictures[chance.randrange(len(pictures) - 1)]


def workers_of(server: int) -> list[int]:
    """Returns the processes that the server's first one has forked, without the one that speaks HTTP."""
    return [int(child) for child in _read(f"/proc/{server}/task/{server}/children").split()[1:]]


def memory_of(server: int) -> float:
    """Returns the MiB that all processes of a server hold, what they share counted once."""
    children = _read(f"/proc/{server}/task/{server}/children").split()
    found = [re.search(r"^Pss:\s+(\d+)", _read(f"/proc/{pid}/smaps_rollup"), re.M) for pid in (server, *children)]
    return round(sum(int(one.group(1)) for one in found if one) / 1024, 1)


def memory_summary(memory: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Returns the most memory in the first fifth of the time after the first minute, and in the last.

    The most, because the system takes pages of files away, and gives them back, as others need its memory.
    """
    sizes = [size for seconds, size in memory if seconds >= FIRST_SECONDS] or [size for _, size in memory]
    fifth = max(1, len(sizes) // 5)
    return {"mib_in_the_first_fifth": max(sizes[:fifth]), "mib_in_the_last_fifth": max(sizes[-fifth:])}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        # It has just been killed.
        return ""
