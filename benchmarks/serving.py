"""`beit serve` under load beside a server without batching, the same FastAPI with one forward pass per request.

  python benchmarks/serving.py                            BEiT v2 base, random weights, three turns
  python benchmarks/serving.py --model embedded --seconds 5 --turns 1
  python benchmarks/serving.py --soak 10                  one server for ten minutes, its workers killed again and again

All servers stay open and are asked in turns, the others standing still, by 1, 2, 4 ... clients that ask again as soon
as they are answered. The figure is the most pictures per second with the 99th percentile of the latency within the
bound. Every answer is compared with what `beit predict` says offline. With LitServe installed, it takes part. Clients
and servers share the processors. Writes benchmarks/results/serving_DATE.json, or serving_soak_DATE.json, and ends with
status 1 if an answer of `beit serve` was wrong or lost.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import make_model
from rich.console import Console
from rich.table import Table
from serving_load import Asked, count_alike, load, make_photographs
from serving_soak import soak
from throughput_report import about_machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
NAIVE, LITSERVE = (str(ROOT / "benchmarks" / f"serving_{name}.py") for name in ("naive", "litserve"))
CLIENTS = (1, 2, 4, 8, 16, 32)
FAILURES = ("wrong", "refused", "lost")
PATIENCE_SECONDS = 300.0
# Random weights say nearly the same of all pictures, so that answers which are mixed up would pass for right ones.
MAKE_LOUDER = """
import sys, torch
content = torch.load(sys.argv[1], weights_only=True)
for name in ("weight", "bias"):
    content["state_dict"][f"head.fc.{name}"] *= 1000
torch.save(content, sys.argv[1])
"""
# What the answers have to be, asked of the package as `beit predict` does.
EXPECTED = """
import json, sys
from pathlib import Path
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.prediction.stream import predict_stream
for one in predict_stream(open_model(find_model_folder(sys.argv[1])), sys.argv[2:], batch_size=1, topk=5):
    print(json.dumps({"labels": one.labels, "scores": one.scores} | ({"error": one.error} if one.error else {})))
"""


@dataclass(frozen=True)
class Contestant:
    """A server: its command before the model, and after. as_json: how it takes pictures."""

    name: str
    command: tuple[str, ...]
    options: tuple[str, ...]
    as_json: bool = False


OURS = (sys.executable, "-m", "modelscope_beit", "serve")
CONTESTANTS = (
    Contestant("beit serve, a worker per core", OURS, ("--workers", "{cores}", "--port", "{port}")),
    Contestant("beit serve, one worker", OURS, ("--port", "{port}")),
    Contestant("FastAPI, one forward per request", (sys.executable, NAIVE), ("{port}",)),
    Contestant("LitServe, a worker per core", (sys.executable, LITSERVE), ("{port}",), as_json=True),
)


def main() -> None:
    """Measures or soaks, prints what was found, writes it to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", help="a model folder or the word embedded (default: BEiT v2 base with random weights)")
    add("--seconds", type=float, default=20.0, help="of each load (default: 20)")
    add("--turns", type=int, default=3, help="of all servers and loads (default: 3)")
    add("--clients", type=int, nargs="+", default=CLIENTS, help="loads (default: 1 2 4 8 16 32)")
    add("--bound", type=float, default=1.0, help="seconds that 99 of 100 answers may take (default: 1)")
    add("--soak", type=float, metavar="MINUTES", help="soak one server instead")
    arguments = parser.parse_args()
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as place:
        model = arguments.model or random_base(Path(place))
        paths = make_photographs(Path(place), 32)
        if arguments.soak is None:
            record, name = measure(arguments, model, expected(model, paths), console), "serving"
            console.print(figure_table(record["figures"], arguments.bound), *record["verdict"], sep="\n")
            ours = [row for row in record["figures"] if row["name"].startswith("beit serve")]
            failed = any(row["wrong"] or row["lost"] for row in ours)
        else:
            broken = paths[0].with_name("broken.jpg")
            broken.write_bytes(paths[0].read_bytes()[:300])
            with serving(Contestant("", OURS, ("--workers", "2", "--port", "{port}")), model) as (process, port):
                record = soak(process, port, expected(model, [*paths, broken]), arguments.soak * 60, console)
            name = "serving_soak"
            console.print_json(data=record["counts"] | record["memory"]["summary"])
            failed = any(record["counts"][name] for name in ("wrong", "lost", "exit_status"))
    about = about_machine(" ".join(["python", *sys.argv])) | {"model": arguments.model or "base, random weights"}
    path = RESULTS / f"{name}_{datetime.now(timezone.utc):%Y-%m-%d_%H%M%S}.json"
    path.write_text(json.dumps({"about": about, **record}, indent=2) + "\n", encoding="utf-8")
    console.print(f"All figures: {path.relative_to(ROOT)}")
    if failed:
        raise SystemExit("An answer was wrong or lost, or the server failed; see the complaints.")


def random_base(place: Path) -> str:
    """Returns a folder of BEiT v2 base whose random weights tell pictures apart."""
    folder = make_model(place, by_stock=False)
    subprocess.run([sys.executable, "-c", MAKE_LOUDER, str(folder / "pytorch_model.pt")], check=True)
    return str(folder)


def expected(model: str, paths: Sequence[Path]) -> list[Asked]:
    """Returns the pictures with the answers that each server must give."""
    command = [sys.executable, "-c", EXPECTED, model, *map(str, paths)]
    lines = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    return [Asked(path.read_bytes(), json.loads(line)) for path, line in zip(paths, lines, strict=True)]


@contextmanager
def serving(contestant: Contestant, model: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """Gives a server that is ready, and its port; ends it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [text.format(port=port, cores=os.cpu_count()) for text in contestant.options]
    process = subprocess.Popen(
        [*contestant.command, model, *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{contestant.name} did not start: {' '.join([*contestant.command, model, *options])}")
            time.sleep(0.2)
        yield process, port
    finally:
        process.terminate()
        # A signal waits for one that stands still.
        os.killpg(process.pid, signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
        # And what it has left behind, as LitServe may: that would share the processors with whatever comes next.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def running(process: subprocess.Popen) -> Iterator[None]:
    """Lets a server run that stands still otherwise: LitServe's processes take half a core while nobody asks them."""
    os.killpg(process.pid, signal.SIGCONT)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGSTOP)


def is_ready(port: int) -> bool:
    """Tells whether a server answers its path /ready with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def measure(arguments: argparse.Namespace, model: str, pictures: Sequence[Asked], console: Console) -> dict[str, Any]:
    """Returns all loads and the figures."""
    contestants = [one for one in CONTESTANTS if find_spec("litserve") or not one.as_json]
    loads: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers = {}
        for one in contestants:
            with console.status(f"starting {one.name}"):
                servers[one.name] = process, _ = stack.enter_context(serving(one, model))
                os.killpg(process.pid, signal.SIGSTOP)
        for turn in range(arguments.turns):
            for clients in arguments.clients:
                # Each begins in turn: who comes after a pause is not always the same.
                for one in contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]:
                    process, port = servers[one.name]
                    with console.status(f"turn {turn + 1}: {one.name}, {clients} clients"), running(process):
                        start = time.perf_counter()
                        counts = load(port, clients, arguments.seconds, pictures, as_json=one.as_json)
                    if counts.complaints:
                        console.print(one.name, counts.complaints[0], style="red")
                    loads.append(
                        {"name": one.name, "clients": clients, "turn": turn}
                        | {name: getattr(counts, name) for name in FAILURES}
                        | {"seconds": time.perf_counter() - start, "latencies": counts.latencies}
                        | {"complaints": counts.complaints}
                    )
    rows = figures(loads, arguments.clients)
    for one in loads:
        one["latencies"] = [round(latency, 4) for latency in one["latencies"]]
    told = {"bound": arguments.bound, "pairs_of_pictures_that_are_answered_alike": count_alike(pictures)}
    return told | {"figures": rows, "verdict": verdict(rows, arguments.bound), "loads": loads}


def figures(loads: Sequence[dict[str, Any]], clients: Sequence[int]) -> list[dict[str, Any]]:
    """Returns a row for each server and load: the median of the turns' pictures per second, latencies of all turns."""
    rows = []
    for name in dict.fromkeys(one["name"] for one in loads):
        for count in clients:
            turns = [one for one in loads if (one["name"], one["clients"]) == (name, count)]
            speeds = [len(one["latencies"]) / one["seconds"] for one in turns]
            latencies = [latency for one in turns for latency in one["latencies"]]
            rows.append(
                {
                    "name": name,
                    "clients": count,
                    "pictures_per_second": float(np.median(speeds)),
                    "smallest": min(speeds),
                    "largest": max(speeds),
                    "p50_seconds": float(np.percentile(latencies, 50)) if latencies else None,
                    "p99_seconds": float(np.percentile(latencies, 99)) if latencies else None,
                    **{kind: sum(one[kind] for one in turns) for kind in FAILURES},
                }
            )
    return rows


def verdict(rows: Sequence[dict[str, Any]], bound: float) -> list[str]:
    """Returns a sentence for each server: the most it gave within the bound."""
    told = []
    for name in dict.fromkeys(row["name"] for row in rows):
        within = [row for row in rows if row["name"] == name and is_within(row, bound)]
        best = max(within, key=lambda row: float(row["pictures_per_second"]), default=None)
        what = "nothing" if best is None else f"{best['pictures_per_second']:.1f} images/s, {best['clients']} clients"
        told.append(f"{name}: {what} with p99 <= {bound:g} s")
    return told


def is_within(row: dict[str, Any], bound: float) -> bool:
    """Tells whether so many clients were all answered, and 99 of 100 of them within the bound."""
    return row["p99_seconds"] is not None and row["p99_seconds"] <= bound and not row["refused"] and not row["lost"]


def figure_table(rows: Sequence[dict[str, Any]], bound: float) -> Table:
    """Returns the figures as a table for people; green: within the bound."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("server", "clients", "images/s", "spread", "p50 ms", "p99 ms", *FAILURES):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    for row in rows:
        table.add_row(
            row["name"],
            str(row["clients"]),
            f"{row['pictures_per_second']:.1f}",
            f"{row['smallest']:.1f} - {row['largest']:.1f}",
            *("-" if row[name] is None else f"{1000 * row[name]:.0f}" for name in ("p50_seconds", "p99_seconds")),
            *(str(row[kind]) for kind in FAILURES),
            style="green" if is_within(row, bound) else None,
        )
    return table


if __name__ == "__main__":
    main()
