"""A real `beit serve` in processes of its own, and clients of it that know nothing of the package."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helpers

PATIENCE_SECONDS = 120.0


@dataclass
class Served:
    """A running server. process: the first one, which forks the others."""

    process: subprocess.Popen[str]
    port: int

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Returns status and answer, parsed if it is JSON, of a request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(content) if is_json else content.decode()
        finally:
            connection.close()

    def predict(self, content: bytes, path: str = "/predict") -> tuple[int, Any]:
        """Returns status and answer for the bytes of one picture."""
        return self.ask("POST", path, content, {"Content-Type": "application/octet-stream"})

    def workers(self) -> list[int]:
        """Returns the process ids of the workers."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in found[1:] if _is_alive(int(child))]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


def served(
    model: Path | str, *options: str, environment: dict[str, str] | None = None
) -> AbstractContextManager[Served]:
    """Gives `beit serve` on a free port; ends it, whatever has happened."""
    command = [sys.executable, "-m", "modelscope_beit", "serve", str(model), "--port", "0", *options]
    return started(command, environment)


@contextmanager
def started(command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Gives the server of a command that tells its address on the first line of stderr; ends it."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=helpers.ROOT, env={**os.environ, **(environment or {})}
    )
    assert process.stderr is not None
    try:
        server = Served(process, _port(process.stderr))
        wait_until(lambda: server.ask("GET", "/ready")[0] == 200)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.stderr.close()


def wait_until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until something is so; a test fails if it never is."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it has not come to be"
        time.sleep(0.05)


def _port(lines: Iterable[str]) -> int:
    """Returns the port of the line that tells the address; Ray tells of itself before."""
    told = []
    for line in lines:
        if found := re.search(r"http://127\.0\.0\.1:(\d+);", line):
            return int(found.group(1))
        told.append(line)
    raise AssertionError(f"The server did not start: {''.join(told)}")


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
