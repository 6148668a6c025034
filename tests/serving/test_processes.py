"""The processes of a server: forked, killed, shared, ended; with workers that need no network."""

import collections
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import helpers
from served import Served, started, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the worker is a thread")
STUB = helpers.ROOT / "tests" / "stub_server.py"


def server(**settings: Any) -> AbstractContextManager[Served]:
    return started(command(port=0, **settings), {"PYTHONPATH": str(helpers.ROOT)})


def command(**settings: Any) -> list[str]:
    return [sys.executable, str(STUB), json.dumps(settings)]


def text_of(answer: tuple[int, Any]) -> str:
    assert answer[0] == 200, answer
    return str(answer[1]["predictions"][0]["labels"][0])


def test_workers__are_replaced_when_they_are_killed_and_no_answer_is_lost() -> None:
    with server(workers=2) as running:
        answers: list[str] = []

        def ask(number: int) -> None:
            for turn in range(40):
                answers.append(text_of(running.predict(f"{number} {turn}".encode())))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        killed = 0
        while any(thread.is_alive() for thread in threads):
            # Somebody answers between two deaths: a picture that three workers die with is given up.
            workers = running.workers()
            if workers and len(answers) >= 20 * killed:
                os.kill(workers[killed % len(workers)], signal.SIGKILL)
                killed += 1
            time.sleep(0.01)
        assert sorted(answers) == sorted(f"{number} {turn}" for number in range(4) for turn in range(40))
        assert killed > 1
        wait_until(lambda: len(running.workers()) == 2)
        assert float(re.findall(r"beit_worker_deaths_total (\d\S*)", running.ask("GET", "/metrics")[1])[0]) >= 1


def test_workers__share_what_was_prepared() -> None:
    with server(workers=3) as running:
        wait_until(lambda: "beit_workers_ready 3.0" in running.ask("GET", "/metrics")[1])
        seen = {running.predict(b"x")[1]["predictions"][0]["labels"][1] for _ in range(12)}
        assert seen == {running.ask("GET", "/ready")[1]["shared"]}
        for worker in running.workers():
            rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
            kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.M)}
            assert kib["Shared_Dirty"] > 32 * 1024, "it has the 32 MiB"
            assert kib["Private_Dirty"] < 16 * 1024, "but not for itself"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end__answers_all_that_has_come(number: int) -> None:
    with server() as running:
        outcomes: collections.Counter[str] = collections.Counter()

        def ask(client: int) -> None:
            connection = None
            for turn in range(10_000):
                if connection is None or client % 2:
                    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
                try:
                    connection.connect() if connection.sock is None else None
                except ConnectionRefusedError:
                    return
                body = b"slow" if turn % 4 == 0 else b"fast"
                connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
                answer = connection.getresponse()
                outcomes[
                    f"{answer.status} {body == json.loads(answer.read())['predictions'][0]['labels'][0].encode()}"
                ] += 1
                if answer.will_close:
                    connection = None

        threads = [threading.Thread(target=ask, args=(client,)) for client in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        assert running.stop(number) == 0
        for thread in threads:
            thread.join(60)
        assert set(outcomes) == {"200 True"}
        assert outcomes["200 True"] > 12


def test_end__may_be_asked_for_before_anything_is_ready() -> None:
    process = subprocess.Popen(
        command(port=0), stderr=subprocess.PIPE, text=True, cwd=helpers.ROOT,
        env={**os.environ, "PYTHONPATH": str(helpers.ROOT)},
    )  # fmt: skip
    assert process.stderr is not None
    process.stderr.readline()
    process.terminate()
    assert process.wait(60) == 0, process.stderr.read()
    process.stderr.close()


def test_end__is_told_to_those_who_watch_before_it_comes() -> None:
    with server() as running:
        running.process.terminate()
        wait_until(lambda: running.ask("GET", "/ready")[0] == 503)
        assert running.ask("GET", "/health")[0] == 200
        assert text_of(running.predict(b"still")) == "still"


def test_end__comes_to_all_when_the_first_process_is_killed() -> None:
    with server(workers=2) as running:
        children = [
            int(child)
            for child in Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        ]
        assert len(children) == 3
        running.process.kill()
        wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 20)


def test_serve__tells_that_a_port_is_taken_before_anything_is_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            command(port=taken.getsockname()[1], topk=77), capture_output=True, text=True, cwd=helpers.ROOT,
            env={**os.environ, "PYTHONPATH": str(helpers.ROOT)}, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert "cannot listen at 127.0.0.1" in done.stderr
    assert "prepared in vain" not in done.stderr


def test_serve__ends_its_server_when_preparing_fails() -> None:
    done = subprocess.run(
        command(port=0, topk=77), capture_output=True, text=True, cwd=helpers.ROOT,
        env={**os.environ, "PYTHONPATH": str(helpers.ROOT)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "prepared in vain" in done.stderr
