"""A training step of BEiT v2 base on this machine: ours beside the stock trainer's and timm's, in turns.

  python benchmarks/training_step.py --rounds 5

Each contestant lives in a process of its own and makes one step when it is told to, so that a busy machine is busy for
all. All have the same pictures, batch, drop path, label smoothing and AdamW, and the precision that a user gets who
asks for none: float32 from the peers, ours what the hardware is good at. Where that is bfloat16, ours in float32 and
timm under autocast run, too.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from throughput_contestant import BF16_INSTRUCTIONS
from throughput_report import processor

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "torchvision", "accelerate", "modelscope", "mmcv", "mmcls", "timm")

# Every contestant defines `step`; then it makes one step per line that it reads, and tells seconds, loss and memory.
SERVE = """
import json, resource, sys, time
step()
resident = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print("READY", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    loss = step()
    row = {"seconds": time.perf_counter() - start, "loss": loss, "peak": resident()}
    print(json.dumps(row | {"precision": precision}), flush=True)
"""
PICTURES = """
import os, sys, torch
batch = int(sys.argv[1])
torch.manual_seed(0)
images, labels = torch.randn(batch, 3, 224, 224), torch.randint(0, 1000, (batch,))
precision = sys.argv[3]
"""
STOCK = """
from mmcls.models import build_classifier
from mmcv.parallel import MMDataParallel
from mmcv.runner import build_optimizer
from mmcv.runner.hooks import OptimizerHook
import modelscope.models.cv.image_classification.backbones
backbone = dict(type="BEiTv2", arch="base", img_size=224, patch_size=16, qkv_bias=True, init_values=0.1,
                drop_path_rate=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True, use_mean_pooling=True)
loss = dict(type="LabelSmoothLoss", label_smooth_val=0.1, num_classes=1000, mode="original")
head = dict(type="LinearClsHead", num_classes=1000, in_channels=768, loss=loss)
classifier = build_classifier(dict(type="ImageClassifier", backbone=backbone, neck=None, head=head))
model = MMDataParallel(classifier, device_ids=[])
optimizer = build_optimizer(model, dict(type="AdamW", lr=5e-5, weight_decay=0.05))
class Runner: pass
runner, hook = Runner(), OptimizerHook(grad_clip=dict(max_norm=5.0))
class Buffer:
    def update(self, *_): pass
runner.model, runner.optimizer, runner.log_buffer = model, optimizer, Buffer()
model.train()
def step():
    runner.outputs = model.train_step(dict(img=images, gt_label=labels), optimizer)
    hook.after_train_iter(runner)
    return float(runner.outputs["loss"])
"""
TIMM = """
import timm, timm.loss, timm.optim
model = timm.create_model("beitv2_base_patch16_224", drop_path_rate=0.1).train()
optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=5e-5, weight_decay=0.05)
loss_of = timm.loss.LabelSmoothingCrossEntropy(0.1)
def step():
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = model(images)
    loss = loss_of(logits.float(), labels)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return float(loss)
"""
OURS = """
import json
from pathlib import Path
from PIL import Image
from modelscope_beit.checkpoints.files import write_weights
from modelscope_beit.data.batches import Batch
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.finetune import train_step
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.run import open_run
place = Path(sys.argv[2])
content = json.loads(Path("configs/beitv2-base-p16-224_imagenet.json").read_text())
content["model"]["mm_model"]["backbone"]["drop_path_rate"] = 0.1
loss = {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "original"}
content["model"]["mm_model"]["head"]["loss"] = loss
content["train"] = {"dataloader": {"batch_size_per_gpu": batch, "workers_per_gpu": 0}, "max_epochs": 1,
                    "optimizer_config": {"grad_clip": {"max_norm": 5.0}}, "lr_config": {"policy": "fixed"},
                    "optimizer": {"type": "AdamW", "lr": 5e-5, "weight_decay": 0.05}, "precision": precision}
settings, recipe = read_recipe(content, where="the base configuration")
weights = place / "start.pth"
write_weights(weights, build_classifier(settings.model).state_dict(), {})
names = [str(number) for number in range(1000)]
picture = Image.new("RGB", (224, 224))
rows = records_of([{"image": picture, "label": number} for number in range(1000)], class_names=names)
job = TrainingJob(settings, recipe, weights, content, rows, None, place / "run", "0", "base", "noise", "benchmark")
opened = open_run(job)
run = opened.__enter__()
run.network.train()
precision = run.precision
one = Batch(images=images, labels=labels, indices=torch.arange(batch), weights=torch.ones(batch), global_size=batch)
def step():
    losses, _ = train_step(run, [one])
    return float(losses[0])
"""
# Name -> code, precision, package that it needs.
CONTESTANTS = {
    "stock trainer": (STOCK, "fp32", "mmcls"),
    "timm": (TIMM, "fp32", "timm"),
    "ours": (OURS, "auto", "torch"),
    "timm under autocast": (TIMM, "bf16", "timm"),
    "ours in float32": (OURS, "fp32", "torch"),
}
IN_THE_OTHER_PRECISION = ("timm under autocast", "ours in float32")


def main() -> None:
    """Measures, prints the table, writes the figures to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each contestant (default: 5)")
    parser.add_argument("--batch", type=int, default=8, help="pictures a step (default: 8)")
    arguments = parser.parse_args()
    console = Console()
    absent = {name for name, (_, _, package) in CONTESTANTS.items() if find_spec(package) is None}
    left_out = absent.union(() if BF16_INSTRUCTIONS.intersection(processor()[1]) else IN_THE_OTHER_PRECISION)
    with tempfile.TemporaryDirectory() as place:
        runs = measure([name for name in CONTESTANTS if name not in left_out], arguments, place, console)
    record = {"about": about(arguments), "missing_peers": sorted(absent), "runs": runs}
    record["figures"] = figures(runs, arguments.batch)
    console.print(table(record["figures"]))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"training_step_{datetime.now(timezone.utc):%Y-%m-%d_%H%M%S}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    console.print(f"All runs: {path.relative_to(ROOT)}")


def measure(
    contestants: list[str], arguments: argparse.Namespace, place: str, console: Console
) -> dict[str, list[dict[str, Any]]]:
    """Returns what each contestant told of each round; all are ready before the first one begins."""
    children = {}
    for name in contestants:
        code, precision, _ = CONTESTANTS[name]
        own_place = Path(tempfile.mkdtemp(dir=place))
        command = [sys.executable, "-c", PICTURES + code + SERVE, str(arguments.batch), str(own_place), precision]
        with console.status(f"{name} gets ready"):
            children[name] = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            wait_for(children[name], "READY")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for turn in range(arguments.rounds):
        for name, child in children.items():
            with console.status(f"{name}, {turn + 1} of {arguments.rounds}"):
                assert child.stdin is not None
                child.stdin.write("step\n")
                child.stdin.flush()
                runs[name].append(json.loads(wait_for(child, "{")))
    for child in children.values():
        child.communicate()
    return runs


def wait_for(child: subprocess.Popen[str], start: str) -> str:
    """Returns the next line of a child that begins so."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(start):
            return line
    assert child.stderr is not None
    raise SystemExit(child.stderr.read())


def figures(runs: dict[str, list[dict[str, Any]]], batch: int) -> list[dict[str, Any]]:
    """Returns images/s, peak memory and their ratios to the stock trainer's; best and median of the rounds."""
    rows = []
    for name, told in runs.items():
        seconds = [row["seconds"] for row in told]
        rows.append(
            {
                "name": name,
                "precision": told[0]["precision"],
                "images_per_second": batch / statistics.median(seconds),
                "best_images_per_second": batch / min(seconds),
                "peak_bytes": max(row["peak"] for row in told),
                "first_loss": told[0]["loss"],
            }
        )
    stock = next((row for row in rows if row["name"] == "stock trainer"), None)
    for row in rows:
        if stock is not None:
            row["speed_to_stock"] = row["images_per_second"] / stock["images_per_second"]
            row["best_speed_to_stock"] = row["best_images_per_second"] / stock["best_images_per_second"]
            row["memory_to_stock"] = row["peak_bytes"] / stock["peak_bytes"]
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """Returns the figures as a table for people."""
    shown = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("step of", "precision", "images/s", "best", "x stock", "peak MiB", "x stock"):
        shown.add_column(heading, justify="left" if heading in ("step of", "precision") else "right")
    for row in rows:
        ratios = (f"{row[key]:.2f}" if key in row else "" for key in ("speed_to_stock", "memory_to_stock"))
        speed, memory = ratios
        images = f"{row['images_per_second']:.2f}", f"{row['best_images_per_second']:.2f}"
        shown.add_row(row["name"], row["precision"], *images, speed, f"{row['peak_bytes'] / 2**20:,.0f}", memory)
    return shown


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns what somebody needs who wants to repeat the run."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": f"python benchmarks/training_step.py --rounds {arguments.rounds} --batch {arguments.batch}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as torch takes"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES if find_spec(name)},
    }


if __name__ == "__main__":
    main()
