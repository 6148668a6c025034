"""Forward passes of BEiT v2 on this machine's processor: ours beside the peers, in turns.

  python benchmarks/throughput.py                   base, batches of 1, 8 and 32, fp32, bf16 and int8
  python benchmarks/throughput.py --size large
  python benchmarks/throughput.py --quick           base, batches of 1 and 8, fp32, two rounds

Each contestant lives in a process of its own and computes only when it is told to, so that a busy machine is busy for
all. Peers run timm's network in ONNX Runtime and OpenVINO by the ways that these document; ours in them is what
`--backend` gives. All have the same random weights and pictures, and must give the same logits in fp32 before they are
timed. The contestants of one precision are ready at the same time; a peer in fp32, the anchor, runs beside each. Writes
benchmarks/results/DATE-CPU.json, a table (.md) and a picture (.png).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from throughput_report import about_machine, absences, draw, figures, markdown, terminal_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CHILD = ROOT / "benchmarks" / "throughput_contestant.py"
NETWORKS = ROOT / "benchmarks" / "throughput_networks.py"

PRECISIONS = ("fp32", "bf16", "int8")
# What must be installed, and what each can do.
PACKAGES = {
    "ModelScope + mmcls": ("modelscope", "mmcv", "mmcls"),
    "timm": ("timm",),
    "transformers": ("transformers",),
    "timm in ONNX Runtime": ("timm", "onnx", "onnxscript", "onnxruntime"),
    "timm in OpenVINO": ("timm", "onnx", "onnxscript", "onnxruntime", "openvino"),
    "ours": (),
    "ours by ONNX Runtime": ("onnx", "onnxscript", "onnxruntime"),
    "ours by OpenVINO": ("onnx", "onnxscript", "openvino"),
    "matrix products": (),
}
CAN = {
    "ModelScope + mmcls": ("fp32", "bf16"),
    "timm": ("fp32", "bf16"),
    "transformers": ("fp32", "bf16"),
    "timm in ONNX Runtime": ("fp32", "int8"),
    "timm in OpenVINO": ("fp32", "bf16"),
    "ours by ONNX Runtime": ("fp32", "int8"),
}
ANCHORS = ("ModelScope + mmcls", "timm", "transformers", "ours")
PRODUCTS = "matrix products"
# Largest difference of a logit in fp32, in parts of the logits' spread or, if that is less than 1, absolutely.
TOLERANCE = 1e-4
# Threads that wait for work by spinning have gone to sleep by then.
PAUSE = 0.2


@dataclass
class Contestant:
    """A process that computes when told to. turns: by batch size, what each round told."""

    name: str
    precision: str
    child: subprocess.Popen[str]
    errors: IO[str]
    logits: np.ndarray = field(default_factory=lambda: np.zeros(0))
    refusal: str | None = None
    turns: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def main() -> None:
    """Measures, prints the table, writes the figures to benchmarks/results."""
    arguments = read_arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    absent = {
        name: missing for name, needed in PACKAGES.items() if (missing := [p for p in needed if find_spec(p) is None])
    }
    about = about_machine(" ".join(["python benchmarks/throughput.py", *sys.argv[1:]]))
    with tempfile.TemporaryDirectory() as place:
        with console.status("The network is written for everybody"):
            command = [sys.executable, str(NETWORKS), arguments.size, place]
            written = subprocess.run(command, capture_output=True, text=True)
        if written.returncode:
            raise SystemExit(f"The network could not be written:\n{written.stderr}")
        facts = json.loads((Path(place) / "network.json").read_text(encoding="utf-8"))
        groups, refusals = {}, {}
        for precision in arguments.precision:
            group, refused = measure(precision, arguments, Path(place), absent, console)
            groups[precision], refusals[precision] = group, refused
    record = {"about": about, "size": arguments.size, "network": facts, "rounds": arguments.rounds}
    record |= {"not_installed": absent, "refusals": refusals, "groups": groups}
    record["figures"] = figures(groups, facts)
    write(record, arguments.results, console)


def read_arguments() -> argparse.Namespace:
    """Returns what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", choices=("base", "large", "tiny"), default="base", help="tiny is for trying this program")
    add("--batch", type=int, nargs="+", default=[1, 8, 32], help="pictures a pass (default: 1 8 32)")
    add("--precision", choices=PRECISIONS, nargs="+", default=list(PRECISIONS), help="default: all three")
    add("--rounds", type=int, default=5, help="turns of each contestant with each batch size (default: 5)")
    add("--seconds", type=float, default=3.0, help="of a turn; at least one pass (default: 3)")
    add("--quick", action="store_true", help="base, batches of 1 and 8, fp32, two rounds of one second")
    add("--results", type=Path, default=RESULTS, help="folder for the results")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.batch, arguments.precision, arguments.rounds, arguments.seconds = [1, 8], ["fp32"], 2, 1.0
    return arguments


def measure(
    precision: str, arguments: argparse.Namespace, place: Path, absent: dict[str, list[str]], console: Console
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Returns what each contestant of a precision told, and why others did not run."""
    present = [name for name in PACKAGES if name not in absent]
    entries = [(name, "fp32") for name in ANCHORS if name in present]
    entries += [(name, precision) for name in present if precision in CAN.get(name, PRECISIONS)]
    refusals = {name: f"it has no {precision}" for name in present if precision not in CAN.get(name, PRECISIONS)}
    contestants: list[Contestant] = []
    with ExitStack() as children:
        for name, its_precision in dict.fromkeys(entries):
            if its_precision != precision and contestants:
                # There is an anchor.
                continue
            with console.status(f"{name} {its_precision} gets ready"):
                one = children.enter_context(started(name, its_precision, place))
            if one.refusal is None:
                contestants.append(one)
            else:
                refusals[name] = one.refusal
        rows = compare(contestants)
        for batch in sorted(set(arguments.batch)):
            take_turns(contestants, batch, arguments, console)
    for one, row in zip(contestants, rows, strict=True):
        row |= {"is_anchor": one is contestants[0], "turns": one.turns}
    return rows, refusals


@contextmanager
def started(name: str, precision: str, place: Path) -> Iterator[Contestant]:
    """A contestant's process, which has answered to the pictures; it ends with the block."""
    command = [sys.executable, str(CHILD), name, precision, str(place)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8"
        ) as child,
    ):
        one = Contestant(name, precision, child, errors)
        told = answer(one)
        one.refusal = told.get("refusal")
        one.logits = np.array(told.get("logits", ()), np.float64)
        try:
            yield one
        finally:
            # It reads to the end of its orders.
            child.communicate()


def answer(one: Contestant) -> dict[str, Any]:
    """Returns what a contestant tells next; stops with what it complained of if it has ended."""
    assert one.child.stdout is not None
    for line in one.child.stdout:
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    one.errors.seek(0)
    raise SystemExit(f"{one.name} in {one.precision} ended without an answer:\n{one.errors.read()}")


def compare(contestants: list[Contestant]) -> list[dict[str, Any]]:
    """Returns a row for each contestant with its difference from the first; stops if two differ in fp32."""
    anchor, exact = contestants[0].name, contestants[0].logits
    rows = []
    for one in contestants:
        row: dict[str, Any] = {"name": one.name, "precision": one.precision}
        if one.name != PRODUCTS:
            difference, spread = one.logits - exact, float(exact.std())
            largest, rms = float(abs(difference).max()), float(np.sqrt(np.square(difference).mean()))
            if one.precision == "fp32" and not largest <= TOLERANCE * max(1.0, spread):
                raise SystemExit(f"{one.name} and {anchor} disagree in fp32 by {largest:.2g}: other work is done.")
            row |= {"largest_difference": largest, "rms_difference": rms, "spread": spread}
        rows.append(row)
    return rows


def take_turns(contestants: list[Contestant], batch: int, arguments: argparse.Namespace, console: Console) -> None:
    """Lets all contestants compute one at a time; each turn begins with another."""
    for turn in range(arguments.rounds):
        first = turn % len(contestants)
        for one in contestants[first:] + contestants[:first]:
            with console.status(f"{one.name} {one.precision}, batches of {batch}, {turn + 1} of {arguments.rounds}"):
                time.sleep(PAUSE)
                order = {"batch": batch, "seconds": arguments.seconds, "is_first": turn == 0}
                assert one.child.stdin is not None
                one.child.stdin.write(json.dumps(order) + "\n")
                one.child.stdin.flush()
                one.turns.setdefault(batch, []).append(answer(one))


def write(record: dict[str, Any], folder: Path, console: Console) -> None:
    """Writes the figures as JSON, Markdown and a picture, and shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(timezone.utc):%Y-%m-%d_%H%M%S}-CPU.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(record), encoding="utf-8")
    draw(record, path.with_suffix(".png"))
    console.print(terminal_table(record["figures"]))
    for text in absences(record):
        console.print(text, markup=False)
    console.print(f"All turns: {path}; beside it a table (.md) and a picture (.png)")


if __name__ == "__main__":
    main()
