"""Start-up on BEiT v2 base, ours beside the stock pipeline: process start to first result, load time, memory.

  python benchmarks/cold_start.py --repeats 7

Every figure comes from fresh processes, the contestants taking turns, so that a busy machine is busy for all. The
model is a folder in the stock layout with random weights; both sides must give the same classes for the picture.
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
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CONFIGURATION = ROOT / "configs" / "beitv2-base-p16-224_imagenet.json"
PACKAGES = ("torch", "torchvision", "modelscope", "mmcv", "mmcls", "numpy", "pillow")

# What the children run; sys.argv[1:] is the model folder and the picture. The stock ones never see our package.
CALL_PIPELINE = """
import json, sys
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
result = pipeline(Tasks.image_classification, model=sys.argv[1], device="cpu")(sys.argv[2])
row = {"labels": result["labels"], "scores": [float(score) for score in result["scores"]]}
print("RESULT", json.dumps(row), flush=True)
"""
MEMORY = """
import json, resource, sys, time
def memory(name):
    try:
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
def forget_the_peak():
    try:
        open("/proc/self/clear_refs", "w").write("5")
    except OSError:
        pass
"""
MEASURE = """
forget_the_peak()
before, start = memory("VmRSS"), time.perf_counter()
model = load(sys.argv[1])
loaded, peak = time.perf_counter() - start, memory("VmHWM") - before
classify(model)
first, whole_peak = time.perf_counter() - start, memory("VmHWM") - before
row = {"load": loaded, "load_and_first_result": first, "peak": peak, "peak_with_first_result": whole_peak}
print("RESULT", json.dumps(row), flush=True)
"""
LOAD_STOCK = (
    MEMORY
    + """
import torch, mmcls.models, modelscope.models.cv.image_classification.backbones
from modelscope.models.cv.image_classification.mmcls_model import ClassificationModel
pixels = torch.rand(1, 3, 224, 224)
load = lambda folder: ClassificationModel(folder).eval()
classify = lambda model: model({"img": pixels, "img_metas": [{}], "return_loss": False})
"""
    + MEASURE
)
LOAD_OURS = (
    MEMORY
    + """
import torch
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.network.inference_form import inference_form
from modelscope_beit.prediction.classifying import class_probabilities
pixels = torch.rand(1, 3, 224, 224)
load = open_model
classify = lambda model: class_probabilities(inference_form(model.network), pixels)
"""
    + MEASURE
)
# The stock classes write the weights where they are installed, index buffers and all; elsewhere our network does.
WRITE_STOCK_WEIGHTS = """
import json, sys, torch, modelscope.models.cv.image_classification.backbones
from mmcls.models import build_classifier
torch.manual_seed(0)
mm_model = json.load(open(f"{sys.argv[1]}/configuration.json"))["model"]["mm_model"]
network = build_classifier(mm_model)
names = [f"class {number}" for number in range(mm_model["head"]["num_classes"])]
torch.save({"state_dict": network.state_dict(), "meta": {"CLASSES": names}}, f"{sys.argv[1]}/pytorch_model.pt")
"""
WRITE_OUR_WEIGHTS = """
import sys, torch
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings
torch.manual_seed(0)
network, names = build_classifier(model_settings("beitv2", "base")), [f"class {number}" for number in range(1000)]
torch.save({"state_dict": network.state_dict(), "meta": {"CLASSES": names}}, f"{sys.argv[1]}/pytorch_model.pt")
"""


@dataclass(frozen=True)
class Contestant:
    """A program: name and command line before the model folder and the picture."""

    name: str
    command: tuple[str, ...]
    options: tuple[str, ...] = ()


PYTHON = (sys.executable, "-c")
STOCK = "stock pipeline()"
OURS = "our pipeline()"
COMMAND = "beit predict"
STOCK_LOAD = "stock model load"
OUR_LOAD = "our model load"
CONTESTANTS = (
    Contestant(STOCK, (*PYTHON, CALL_PIPELINE)),
    Contestant(OURS, (*PYTHON, "import modelscope_beit\n" + CALL_PIPELINE)),
    Contestant(COMMAND, (sys.executable, "-m", "modelscope_beit", "predict"), ("--json",)),
    Contestant(STOCK_LOAD, (*PYTHON, LOAD_STOCK)),
    Contestant(OUR_LOAD, (*PYTHON, LOAD_OURS)),
)


def main() -> None:
    """Measures, prints the table, writes the figures to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes of each kind (default: 5)")
    repeats = parser.parse_args().repeats
    console = Console()
    missing = [name for name in ("mmcv", "mmcls") if find_spec(name) is None]
    contestants = [one for one in CONTESTANTS if not (missing and one.name.startswith("stock"))]
    if missing:
        console.print(f"No stock pipeline to compare with: {', '.join(missing)} is not installed (extra openmmlab).")
    with tempfile.TemporaryDirectory() as place:
        folder, picture = make_model(Path(place), by_stock=not missing), make_picture(Path(place))
        weights = (folder / "pytorch_model.pt").stat().st_size
        runs = measure(contestants, folder, picture, repeats, console)
    record = {"about": about(repeats), "weights_bytes": weights, "missing_peers": missing, "runs": runs}
    record["figures"] = figures(runs, weights)
    console.print(figure_table(record["figures"]))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"cold_start_{datetime.now(timezone.utc):%Y-%m-%d_%H%M%S}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    console.print(f"All runs: {path.relative_to(ROOT)}")


def make_model(place: Path, *, by_stock: bool) -> Path:
    """Returns a folder of BEiT v2 base in the stock layout, weights random."""
    folder = place / "beitv2-base"
    folder.mkdir()
    configuration = json.loads(CONFIGURATION.read_text(encoding="utf-8"))
    configuration.pop("_about", None)
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    code = WRITE_STOCK_WEIGHTS if by_stock else WRITE_OUR_WEIGHTS
    subprocess.run([*PYTHON, code, str(folder)], check=True, cwd=ROOT, capture_output=True)
    return folder


def make_picture(place: Path) -> Path:
    """Returns a JPEG of 500 x 375 pixels: ImageNet's usual size."""
    path = place / "picture.jpg"
    channels = [Image.effect_noise((500, 375), sigma) for sigma in (40, 60, 80)]
    Image.merge("RGB", channels).resize((500, 375)).save(path, quality=90)
    return path


def measure(
    contestants: list[Contestant], folder: Path, picture: Path, repeats: int, console: Console
) -> dict[str, list[dict[str, Any]]]:
    """Returns what each contestant said and took, in turns; a first round warms the disk's cache and is dropped."""
    runs: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contestants}
    for turn in range(repeats + 1):
        for one in contestants:
            with console.status(f"{one.name}, {turn} of {repeats}"):
                row = first_result([*one.command, str(folder), str(picture), *one.options])
            if turn:
                runs[one.name].append(row)
    answers = {name: rows[0] for name, rows in runs.items() if "labels" in rows[0]}
    check_same_answer(answers)
    return runs


def first_result(command: list[str]) -> dict[str, Any]:
    """Runs a child: "seconds" from before its start until its first result is here, "processor" in all."""
    before, start = processor_seconds(), time.perf_counter()
    row = None
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8") as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            text = line.removeprefix("RESULT ")
            if row is None and text.startswith("{"):
                row = {"seconds": time.perf_counter() - start, **json.loads(text)}
        if row is None:
            errors.seek(0)
            raise SystemExit(f"No result from {' '.join(command)}\n{errors.read()}")
    return row | {"processor": processor_seconds() - before}


def processor_seconds() -> float:
    """Returns what all children so far have used: unlike time by the clock, much the same on a busy machine."""
    used = os.times()
    return used.children_user + used.children_system


def check_same_answer(answers: dict[str, dict[str, Any]]) -> None:
    """Stops if two contestants differ: then their times are of different work."""
    (name, expected), *others = answers.items()
    for other, answer in others:
        difference = max(abs(a - b) for a, b in zip(answer["scores"], expected["scores"], strict=True))
        if answer["labels"] != expected["labels"] or difference > 1e-5:
            raise SystemExit(f"{name} and {other} disagree: {expected} and {answer}")


def figures(runs: dict[str, list[dict[str, Any]]], weights: int) -> list[dict[str, Any]]:
    """Returns the figures with medians, spread, and the ratios that have a target."""
    rows = [figure(f"{name}: start to first result", runs, name, "seconds", "s") for name in (STOCK, OURS, COMMAND)]
    rows += [figure(f"{name}: processor time", runs, name, "processor", "s") for name in (STOCK, OURS, COMMAND)]
    for key, what in (("load", "build and load"), ("load_and_first_result", "load and first pass")):
        rows += [figure(f"{name}: {what}", runs, name, key, "s") for name in (STOCK_LOAD, OUR_LOAD)]
    for key, what in (("peak", "peak memory, load"), ("peak_with_first_result", "peak memory, load and first pass")):
        rows += [figure(f"{name}: {what}", runs, name, key, "MiB", 2**20) for name in (STOCK_LOAD, OUR_LOAD)]
    rows = [row for row in rows if row]
    median = {row["name"]: row["median"] for row in rows}
    for mine, other, target in (
        (f"{OURS}: start to first result", f"{STOCK}: start to first result", 0.8),
        (f"{COMMAND}: start to first result", f"{STOCK}: start to first result", 0.35),
        (f"{OURS}: processor time", f"{STOCK}: processor time", None),
        (f"{COMMAND}: processor time", f"{STOCK}: processor time", None),
        (f"{OUR_LOAD}: build and load", f"{STOCK_LOAD}: build and load", 0.25),
        (f"{OUR_LOAD}: peak memory, load", "the weights", 1.3),
        (f"{OUR_LOAD}: peak memory, load and first pass", "the weights", None),
    ):
        beside = weights / 2**20 if other == "the weights" else median.get(other)
        for row in rows:
            if row["name"] == mine and beside:
                row |= {"ratio": row["median"] / beside, "ratio_to": other, "target": target}
    return rows


def figure(
    label: str, runs: dict[str, list[dict[str, Any]]], name: str, key: str, unit: str, divisor: float = 1.0
) -> dict[str, Any]:
    """Returns median, smallest and largest of one quantity; nothing if the contestant did not run."""
    values = [row[key] / divisor for row in runs.get(name, ())]
    if not values:
        return {}
    median = statistics.median(values)
    return {"name": label, "unit": unit, "median": median, "smallest": min(values), "largest": max(values)}


def figure_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the figures as a table for people."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("figure", "median", "spread", "ratio", "target"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for row in rows:
        digits = 2 if row["unit"] == "s" else 0
        spread = f"{row['smallest']:.{digits}f} - {row['largest']:.{digits}f}"
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        target = row.get("target")
        style = None if target is None else "green" if row["ratio"] <= target else "red"
        told = "" if target is None else f"<= {target}"
        table.add_row(row["name"], f"{row['median']:.{digits}f} {row['unit']}", spread, ratio, told, style=style)
    return table


def about(repeats: int) -> dict[str, Any]:
    """Returns what somebody needs who wants to repeat the run."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": f"python benchmarks/cold_start.py --repeats {repeats}",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as torch takes"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES if find_spec(_module(name))},
    }


def cpu_name() -> str:
    """Returns the processor's name as Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _module(package: str) -> str:
    return "PIL" if package == "pillow" else package


if __name__ == "__main__":
    main()
