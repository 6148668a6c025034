"""How long a training step waits for its pictures: threads that decode against threads that compute.

  python benchmarks/data_loading.py                 a small network and base, real JPEGs of 500x375 pixels
  python benchmarks/data_loading.py --networks small --rounds 5

`beit train` runs as a user starts it, once for each number of decoding threads (workers_per_gpu; 0: the step decodes
itself) and of torch's threads, in turns; the times are those of its own log. What is best here is what a user gets who
sets nothing: two workers, and torch's own number of threads.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from throughput_networks import with_random_weights, write_stock
from throughput_report import about_machine

from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
HEIGHT, WIDTH = 375, 500
# Iterations of a run and pictures of an iteration. Base takes seconds an iteration, so a few have to tell.
SIZES = {"small": (14, 32), "base": (4, 4)}
# The first iterations hold what happens once: memory that is taken, decoding that nobody was ahead of.
SKIPPED = 2


def main() -> None:
    """Measures, prints the table, writes the figures to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--networks", nargs="+", choices=tuple(SIZES), default=list(SIZES), help="(both)")
    add("--workers", type=int, nargs="+", default=[0, 1, 2], help="decoding threads (default: 0 1 2)")
    add("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}), help="torch's (default: 1, all)")
    add("--rounds", type=int, default=1, help="runs of each (default: 1)")
    add("--results", type=Path, default=RESULTS, help="folder for the results")
    arguments = parser.parse_args()
    console = Console()
    about = about_machine(" ".join(["python benchmarks/data_loading.py", *sys.argv[1:]]))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_pictures(place / "data")
        rows = [row for network in arguments.networks for row in measure(network, arguments, place, console)]
    console.print(table(rows))
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"data_loading_{about['date'][:19].replace('T', '_').replace(':', '')}.json"
    path.write_text(json.dumps({"about": about, "figures": rows}, indent=1) + "\n", encoding="utf-8")
    console.print(f"All figures: {path}")


def write_pictures(folder: Path, count: int = 128) -> None:
    """Writes JPEGs of the size of a photograph on the web, with noise of many scales, in two classes and two parts."""
    rng = np.random.default_rng(0)
    for number in range(count):
        layers = [
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (HEIGHT // side, WIDTH // side, 3), np.uint8)).resize(
                    (WIDTH, HEIGHT), Image.Resampling.BICUBIC
                ),
                np.float32,
            )
            for side in (2, 8, 32, 128)
        ]
        picture = Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))
        part = "val" if number < 4 else "train"
        path = folder / part / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)


def measure(network: str, arguments: argparse.Namespace, place: Path, console: Console) -> list[dict[str, Any]]:
    """Returns a row for each number of workers and threads."""
    model = "embedded" if network == "small" else str(base_folder(place))
    spans: dict[tuple[int, int], list[dict[str, float]]] = {}
    iterations, batch = SIZES[network]
    for turn in range(arguments.rounds):
        for workers, threads in product(arguments.workers, arguments.threads):
            with console.status(f"{network}, {workers} workers, {threads} threads, {turn + 1} of {arguments.rounds}"):
                out = place / f"{network}_{turn}_{workers}_{threads}"
                spans.setdefault((workers, threads), []).extend(
                    train(model, place / "data", out, iterations, batch, workers, threads)
                )
    return [
        {
            "network": network,
            "workers": workers,
            "threads": threads,
            "images_per_second": batch / statistics.median(span["time"] for span in told),
            "waiting": statistics.median(span["data_time"] / span["time"] for span in told),
            "spans": told,
        }
        for (workers, threads), told in spans.items()
    ]


def base_folder(place: Path) -> Path:
    """Returns a model folder of BEiT v2 base with random weights."""
    settings = model_settings("beitv2", "base")
    write_stock(place / "base", settings, with_random_weights(build_classifier(settings)))
    return place / "base"


def train(
    model: str, data: Path, out: Path, iterations: int, batch: int, workers: int, threads: int
) -> list[dict[str, float]]:
    """Returns what the log of a run says of each iteration: its seconds, and those of waiting for data in it."""
    settings = {
        "iterations": iterations,
        "batch_size": batch,
        "workers": workers,
        "train.log_config.interval": 1,
        # Base would spend most of its time on writing gigabytes, and on looking whether it is the best so far.
        "train.checkpoint_config": "null",
        "train.evaluation.interval": iterations,
    }
    command = [sys.executable, "-m", "modelscope_beit", "train", model, str(data), "--out", str(out)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    (log,) = out.glob("*.log.json")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    spans = [line for line in lines if line.get("mode") == "train"]
    return [{key: span[key] for key in ("time", "data_time")} for span in spans[SKIPPED:]]


def table(rows: list[dict[str, Any]]) -> Table:
    """Returns the figures as a table for people."""
    shown = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("network", "workers", "torch's threads", "images/s", "waiting for data"):
        shown.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        figures = (f"{row['images_per_second']:.2f}", f"{100 * row['waiting']:.1f} %")
        shown.add_row(row["network"], str(row["workers"]), str(row["threads"]), *figures)
    return shown


if __name__ == "__main__":
    main()
