"""BEiT v2 on a GPU in bfloat16, forward passes and training steps: ours beside timm's, eager and compiled, in turns.

  python benchmarks/gpu.py                             base and large, forward passes and steps, batches up to 256
  python benchmarks/gpu.py --size large --batch 256
  python benchmarks/gpu.py --device cpu --size tiny --batch 2 --seconds 0.1      tries this program

All have the same random weights and pictures; before they are timed, answers are compared with ours in float32.
Utilisation is arithmetic per second in parts of that of the product of two square matrices in bfloat16 (8192 x 8192; on
a processor 1024 x 1024), measured in the same rounds; a training step counts as three forward passes. Writes
benchmarks/results/DATE-GPU.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.loss
import timm.optim
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from modelscope_beit.data.batches import Batch
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.network.precision import form_in
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.finetune import train_step
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.run import open_run

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
NETWORKS = ROOT / "benchmarks" / "throughput_networks.py"
SIDE = {"cuda": 8192, "cpu": 1024}
PRODUCT = "product of two matrices"
CLIP = 5.0
SMOOTHING = 0.1
ADAMW = {"lr": 5e-5, "weight_decay": 0.05}

# A pass or a step over one batch; what it returns is on the device.
Pass = Callable[[], Any]


def main() -> None:
    """Measures, prints a table for each size and task, writes the figures to benchmarks/results."""
    arguments = read_arguments()
    console = Console(width=None if sys.stdout.isatty() else 120)
    device = torch.device(arguments.device)
    rows = []
    for size in arguments.size:
        with tempfile.TemporaryDirectory() as place:
            subprocess.run([sys.executable, str(NETWORKS), size, place], check=True, capture_output=True)
            for task in arguments.task:
                for batch in arguments.batch:
                    with console.status(f"{size}, {task}, {batch} pictures"):
                        rows += measure(size, task, batch, Path(place), device, arguments)
                console.print(table([row for row in rows if (row["size"], row["task"]) == (size, task)]))
    record = {"about": about(device), "rows": rows}
    path = arguments.results / f"{datetime.now(timezone.utc):%Y-%m-%d_%H%M%S}-GPU.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    console.print(f"All turns: {path}")


def read_arguments() -> argparse.Namespace:
    """Returns what was asked for; ends where there is no such device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", choices=tuple(SIDE), default="cuda", help="default: cuda")
    add("--size", choices=("base", "large", "tiny"), nargs="+", default=["base", "large"], help="default: both")
    add("--task", choices=("forward", "training"), nargs="+", default=["forward", "training"], help="default: both")
    add("--batch", type=int, nargs="+", default=[1, 8, 32, 64, 128, 256], help="pictures a pass (default: 1 ... 256)")
    add("--rounds", type=int, default=5, help="turns of each contestant (default: 5)")
    add("--seconds", type=float, default=1.0, help="of a turn; at least one pass (default: 1)")
    add("--results", type=Path, default=RESULTS, help="folder for the results")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} finds no GPU here; --device cpu --size tiny tries the program.")
    return arguments


def measure(
    size: str, task: str, batch: int, place: Path, device: torch.device, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Returns a row for each contestant: medians over rounds, smallest and largest."""
    facts = json.loads((place / "network.json").read_text(encoding="utf-8"))
    pictures = np.load(place / "pictures.npy")
    images = torch.from_numpy(pictures[np.arange(batch) % len(pictures)]).to(device)
    work = batch * facts["flop"] * (3 if task == "training" else 1)
    openers = FORWARD if task == "forward" else TRAINING
    passes: dict[str, Pass] = {PRODUCT: product(device)}
    rows: list[dict[str, Any]] = []
    for name, opener in openers.items():
        row = {"size": size, "task": task, "batch": batch, "name": name}
        try:
            passes[name] = opener(place, images)
            row["check"] = warmed_up(passes[name], device)
        except torch.OutOfMemoryError:
            passes.pop(name, None)
            row["refusal"] = "out of memory"
        rows.append(row)
    if task == "forward":
        compare(rows, place, images)
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(arguments.rounds):
        # Each turn begins with another one, so that nobody is always the one after the fastest.
        names = list(passes)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(seconds_a_pass(passes[name], device, arguments.seconds))
    rates = [2 * SIDE[device.type] ** 3 / one for one in seconds.pop(PRODUCT)]
    for row in rows:
        if row["name"] in seconds:
            row |= figures(seconds, row["name"], rates, batch, work)
        row.pop("check", None)
    return rows


def warmed_up(one_pass: Pass, device: torch.device) -> Any:
    """Returns the answer of a first pass; two more follow, after which a compiled one is as fast as it gets."""
    answer = one_pass()
    for _ in range(2):
        one_pass()
    wait_for(device)
    return answer


def seconds_a_pass(one_pass: Pass, device: torch.device, least: float) -> float:
    """Returns the mean over as many passes as fit into a turn; the device is waited for at its end only."""
    start = time.perf_counter()
    one_pass()
    wait_for(device)
    count = max(1, round(least / (time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(count):
        one_pass()
    wait_for(device)
    return (time.perf_counter() - start) / count


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def figures(seconds: dict[str, list[float]], name: str, rates: list[float], batch: int, work: int) -> dict[str, Any]:
    """Returns images/s, utilisation and the ratio to the fastest of the others in the same round."""
    speeds = {other: [batch / one for one in of_rounds] for other, of_rounds in seconds.items()}
    mine = speeds.pop(name)
    peers = {other: of_rounds for other, of_rounds in speeds.items() if other.startswith("timm")}
    told = {
        "images_per_second": statistics.median(mine),
        "smallest": min(mine),
        "largest": max(mine),
        "utilisation": statistics.median(speed / batch * work / rate for speed, rate in zip(mine, rates, strict=True)),
        "product_flops": statistics.median(rates),
        "speeds": mine,
    }
    if peers and not name.startswith("timm"):
        best = max(peers, key=lambda other: statistics.median(peers[other]))
        ratios = [one / its for one, its in zip(mine, peers[best], strict=True)]
        told["times_best_peer"] = {"name": best, "median": statistics.median(ratios)}
        told["times_best_peer"] |= {"smallest": min(ratios), "largest": max(ratios)}
    return told


@torch.inference_mode()
def compare(rows: list[dict[str, Any]], place: Path, images: Tensor) -> None:
    """Adds to each row how far its logits are from ours in float32, in parts of their spread (rms)."""
    exact = form_in(open_model(place / "stock").network.to(images.device), "fp32")(images).double()
    for row in rows:
        if "check" in row:
            difference = (row["check"].double() - exact).square().mean().sqrt()
            row["rms_of_spread"] = float(difference / exact.std())


def product(device: torch.device) -> Pass:
    """What the device can do: the product that utilisation is measured by."""
    side = SIDE[device.type]
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return lambda: left @ right


def forward_of(network: Callable[[Tensor], Tensor], images: Tensor) -> Pass:
    """Returns a pass without gradients."""

    @torch.inference_mode()
    def forward() -> Tensor:
        return network(images)

    return forward


def open_timm(place: Path, images: Tensor, *, is_compiled: bool) -> Pass:
    """timm's network with weights in bfloat16."""
    network = timm.create_model(f"local-dir:{place / 'timm'}", pretrained=True).eval().to(images.device, torch.bfloat16)
    return forward_of(compiled(network) if is_compiled else network, images.to(torch.bfloat16))


def open_ours(place: Path, images: Tensor) -> Pass:
    """Ours, as `beit predict --precision bf16 --device cuda` has it."""
    return forward_of(form_in(open_model(place / "stock").network.to(images.device), "bf16"), images)


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Returns the network compiled for one size of batch, as a sweep over sizes would otherwise make it general."""
    torch.compiler.reset()
    of_network: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)
    return of_network


def train_timm(place: Path, images: Tensor, *, is_compiled: bool) -> Pass:
    """A step of timm's network under autocast, with its loss and its AdamW."""
    network = timm.create_model(f"local-dir:{place / 'timm'}", pretrained=True, drop_path_rate=0.1)
    network = network.train().to(images.device)
    optimizer = timm.optim.create_optimizer_v2(network, opt="adamw", fused=True, **ADAMW)
    loss_of, labels = timm.loss.LabelSmoothingCrossEntropy(SMOOTHING), labels_of(images, network.num_classes)
    answer = compiled(network) if is_compiled else network

    def step() -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            logits = answer(images)
        loss: Tensor = loss_of(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        return loss.detach()

    return step


def train_ours(place: Path, images: Tensor) -> Pass:
    """A step of our trainer, with the same drop path, loss and AdamW."""
    folder = place / "stock"
    content = json.loads((folder / "configuration.json").read_text(encoding="utf-8"))
    content["device"] = images.device.type
    content["model"]["mm_model"]["backbone"]["drop_path_rate"] = 0.1
    loss = {"type": "LabelSmoothLoss", "label_smooth_val": SMOOTHING, "mode": "original"}
    content["model"]["mm_model"]["head"]["loss"] = loss
    content["train"] = {
        "dataloader": {"batch_size_per_gpu": len(images), "workers_per_gpu": 0},
        "max_epochs": 1,
        "optimizer_config": {"grad_clip": {"max_norm": CLIP}},
        "lr_config": {"policy": "fixed"},
        "optimizer": {"type": "AdamW", **ADAMW},
        "precision": "bf16",
    }
    settings, recipe = read_recipe(content, where="the configuration")
    num_classes = settings.model.num_classes
    names = [f"class {number}" for number in range(num_classes)]
    picture = Image.new("RGB", tuple(images.shape[:1:-1]))
    records = records_of([{"image": picture, "label": number} for number in range(num_classes)], class_names=names)
    run_folder = Path(tempfile.mkdtemp(dir=place)) / "run"
    weights = folder / "pytorch_model.pt"
    job = TrainingJob(settings, recipe, weights, content, records, None, run_folder, "0", "base", "noise", "benchmark")
    run = open_run(job).__enter__()
    run.network.train()
    count = len(images)
    one = Batch(
        images=images,
        labels=labels_of(images, num_classes),
        indices=torch.arange(count),
        weights=torch.ones(count, device=images.device),
        global_size=count,
    )
    return lambda: train_step(run, [one])[0][0]


def labels_of(images: Tensor, num_classes: int) -> Tensor:
    """Returns random labels (N), the same ones for everybody."""
    drawn = torch.randint(0, num_classes, (len(images),), generator=torch.Generator().manual_seed(0))
    return drawn.to(images.device)


FORWARD: dict[str, Callable[[Path, Tensor], Pass]] = {
    "timm": lambda place, images: open_timm(place, images, is_compiled=False),
    "timm, compiled": lambda place, images: open_timm(place, images, is_compiled=True),
    "ours": open_ours,
}
TRAINING: dict[str, Callable[[Path, Tensor], Pass]] = {
    "timm": lambda place, images: train_timm(place, images, is_compiled=False),
    "timm, compiled": lambda place, images: train_timm(place, images, is_compiled=True),
    "ours": train_ours,
}


def table(rows: list[dict[str, Any]]) -> Table:
    """Returns the figures of a size and a task as a table for people."""
    shown = Table(title=f"{rows[0]['size']}, {rows[0]['task']}", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("batch", "contestant", "images/s", "spread", "utilisation", "x best peer", "rms % of spread"):
        shown.add_column(heading, justify="left" if heading == "contestant" else "right")
    for row in rows:
        start = str(row["batch"]), row["name"]
        if "refusal" in row:
            shown.add_row(*start, row["refusal"])
            continue
        best = row.get("times_best_peer")
        ratio = f"{best['median']:.2f} ({best['smallest']:.2f} - {best['largest']:.2f}) {best['name']}" if best else ""
        rms = f"{100 * row['rms_of_spread']:.2g}" if "rms_of_spread" in row else ""
        spread = f"{row['smallest']:,.1f} - {row['largest']:,.1f}"
        shown.add_row(*start, f"{row['images_per_second']:,.1f}", spread, f"{row['utilisation']:.0%}", ratio, rms)
    return shown


def about(device: torch.device) -> dict[str, Any]:
    """Returns what somebody needs who wants to repeat the run."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python benchmarks/gpu.py", *sys.argv[1:]]),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "timm", "accelerate", "numpy")},
    }


if __name__ == "__main__":
    main()
