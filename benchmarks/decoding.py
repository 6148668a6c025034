"""From JPEG files to the network's input: ours, exact and fast, beside mmcls, timm and torchvision, in turns.

  python benchmarks/decoding.py --rounds 5
  python benchmarks/decoding.py --end-to-end      BEiT v2 base from files, beside its forward pass alone

Each contestant lives in a process of its own and decodes when it is told to, so that a busy machine is busy for all.
The pictures are two photographs as JPEGs of several sizes, quality 90; everybody resizes to 256 with Pillow's bicubic
filter or the nearest they have, cuts out 224 and normalises. Threads each work on a picture of their own, so PyTorch,
OpenCV and the like get one thread each.
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

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_image

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "torchvision", "pillow", "mmcv", "mmcls", "opencv-python", "timm", "numpy")
# Width, height, and how many are decoded in a turn.
SIZES = ((500, 375, 60), (1024, 768, 24), (4000, 3000, 4))
THREADS = (1, 2)

# Every contestant defines `load`, from a path to pixels (3, 224, 224); then it does what each line that it reads says:
# paths, threads and how many pictures. It tells the seconds, and of the first picture the pixels as levels of 255.
SERVE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
print("READY", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    paths, threads = order["paths"], order["threads"]
    work = [paths[number % len(paths)] for number in range(order["pictures"])]
    pixels = np.asarray(load(paths[0]))
    if pixels.dtype != np.uint8:
        pixels = pixels * std + mean
    np.save(order["pixels"], pixels.astype(np.float32))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(load, paths * threads))
        start, before = time.perf_counter(), time.process_time()
        for _ in pool.map(load, work):
            pass
        row = {"seconds": time.perf_counter() - start, "processor": time.process_time() - before}
    print(json.dumps(row), flush=True)
"""
BEGIN = """
import numpy as np, torch
mean = np.array([123.675, 116.28, 103.53], np.float32)[:, None, None]
std = np.array([58.395, 57.12, 57.375], np.float32)[:, None, None]
steps = [dict(type="LoadImageFromFile"),
         dict(type="Resize", size=(256, -1), backend="pillow", interpolation="bicubic"),
         dict(type="CenterCrop", crop_size=224),
         dict(type="Normalize", mean=mean.ravel().tolist(), std=std.ravel().tolist(), to_rgb=True),
         dict(type="ImageToTensor", keys=["img"]), dict(type="Collect", keys=["img"])]
"""
MMCLS = """
import cv2, mmcv
from mmcls.datasets.pipelines import Compose
cv2.setNumThreads(1)
mmcv.use_backend({backend!r})
pipeline = Compose(steps)
def load(path):
    return pipeline(dict(img_info=dict(filename=path), img_prefix=None))["img"]
"""
TIMM = """
from PIL import Image
from timm.data import create_transform
transform = create_transform(224, interpolation="bicubic", crop_pct=224 / 256,
                             mean=tuple(mean.ravel() / 255), std=tuple(std.ravel() / 255))
def load(path):
    with Image.open(path) as picture:
        return transform(picture.convert("RGB"))
"""
TORCHVISION = """
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2
transform = v2.Compose([v2.Resize(256, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(224),
                        v2.ToDtype(torch.float32, scale=True),
                        v2.Normalize((mean.ravel() / 255).tolist(), (std.ravel() / 255).tolist())])
def load(path):
    return transform(decode_image(path, ImageReadMode.RGB, apply_exif_orientation=True))
"""
OURS_EXACT = """
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.settings.preprocessing import read_steps
transform = EvaluationTransform(read_steps(steps, "steps"))
def load(path):
    return transform(read_image(path))
"""
OURS_FAST = """
from modelscope_beit.images.fast_transform import FastTransform
from modelscope_beit.settings.preprocessing import read_steps
transform = FastTransform(read_steps(steps, "steps"), as_bytes=True)
def load(path):
    return transform(transform.read(path))
"""
STOCK = "mmcls, Pillow"
CONTESTANTS = {
    STOCK: MMCLS.format(backend="pillow"),
    "mmcls, OpenCV": MMCLS.format(backend="cv2"),
    "timm": TIMM,
    "torchvision": TORCHVISION,
    "ours, exact": OURS_EXACT,
    "ours, fast": OURS_FAST,
}
NEEDS = {STOCK: "mmcls", "mmcls, OpenCV": "mmcls", "timm": "timm"}

END_TO_END = """
import json, sys, time
import torch
from pathlib import Path
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.network.precision import form_in
from modelscope_beit.prediction.classifying import class_probabilities
from modelscope_beit.prediction.stream import predict_stream
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.model import model_settings
from modelscope_beit.settings.preprocessing import read_steps
torch.manual_seed(0)
settings = FolderSettings(model=model_settings("beitv2", "base"), preprocessing=read_steps(steps, "steps"))
network = build_classifier(settings.model).eval()
names = tuple(map(str, range(1000)))
model = OpenedModel(Path("base"), settings, network, names, EvaluationTransform(settings.preprocessing))
form = form_in(network, "fp32", in_place=True)
def run(what, paths, batch):
    if what == "forward alone":
        images = torch.stack([model.transform(read_image(path)) for path in paths[:batch]])
        start, before = time.perf_counter(), time.process_time()
        for _ in range(len(paths) // batch):
            class_probabilities(form, images)
    else:
        start, before = time.perf_counter(), time.process_time()
        for prediction in predict_stream(model, paths, batch_size=batch, fast_decode=what == "from files, fast"):
            assert prediction.error is None
    return {"seconds": time.perf_counter() - start, "processor": time.process_time() - before}
print("READY", flush=True)
for line in sys.stdin:
    print(json.dumps(run(*json.loads(line))), flush=True)
"""
WAYS = ("forward alone", "from files, exact", "from files, fast")


def main() -> None:
    """Measures, prints the table, writes the figures to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default: 5)")
    parser.add_argument("--end-to-end", action="store_true", help="measure the network with it, 64 pictures a turn")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    measure = end_to_end if arguments.end_to_end else decoding
    with tempfile.TemporaryDirectory() as place:
        record = {"about": about(arguments)} | measure(Path(place), arguments.rounds, console)
    RESULTS.mkdir(exist_ok=True)
    name = "end_to_end" if arguments.end_to_end else "decoding"
    path = RESULTS / f"{name}_{datetime.now(timezone.utc):%Y-%m-%d_%H%M%S}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    console.print(f"All runs: {path.relative_to(ROOT)}")


def decoding(place: Path, rounds: int, console: Console) -> dict[str, Any]:
    """Returns the runs and figures of all contestants that are installed."""
    missing = sorted({package for package in NEEDS.values() if find_spec(package) is None})
    children = {}
    for name, code in CONTESTANTS.items():
        if NEEDS.get(name) not in missing:
            console.print(f"{name} gets ready")
            children[name] = started(BEGIN + code + SERVE, one_thread=True)
    pictures = {size: write_pictures(place, *size[:2]) for size in SIZES}
    runs: list[dict[str, Any]] = []
    console.print("All are ready")
    for turn in range(rounds):
        for size, paths in pictures.items():
            for threads in THREADS:
                for number, (name, child) in enumerate(children.items()):
                    order = {"paths": paths, "threads": threads, "pictures": size[2]}
                    told = ask(child, order | {"pixels": str(place / f"{number}-{size[0]}.npy")})
                    about_it = {"name": name, "size": list(size[:2]), "threads": threads, "turn": turn}
                    runs.append(about_it | told | {"pictures": size[2]})
    for child in children.values():
        child.communicate()
    found = figures(runs)
    add_differences(found, {name: number for number, name in enumerate(children)}, place)
    console.print(table(found))
    return {"missing_peers": missing, "runs": runs, "figures": found}


def end_to_end(place: Path, rounds: int, console: Console) -> dict[str, Any]:
    """Returns the runs and figures of the network alone and from files."""
    child = started(BEGIN + END_TO_END, one_thread=False)
    paths = write_pictures(place, *SIZES[0][:2]) * 32
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    console.print("Ready")
    for turn in range(rounds + 1):
        # Each way goes first as often as the others: a machine's speed drifts. The first turn warms up.
        first = turn % len(WAYS)
        for way in WAYS[first:] + WAYS[:first]:
            told = ask(child, [way, paths if turn else paths[:32], 32])
            if turn:
                runs[way].append(told)
                console.print(f"{way}: {len(paths) / told['seconds']:.2f} images/s, {told['processor']:.1f} s of cores")
    child.communicate()
    found = {way: {key: ratio(runs[way], runs[WAYS[0]], key) for key in ("seconds", "processor")} for way in WAYS}
    for way in WAYS[1:]:
        for key, what in (("seconds", "time"), ("processor", "processor time")):
            times = "{median:.2f} times ({least:.2f} to {most:.2f})".format(**found[way][key])
            console.print(f"{way}: {times} the {what} of the {WAYS[0]}")
    return {"batch": 32, "pictures": len(paths), "runs": runs, "ratios": found}


def ratio(mine: list[dict[str, Any]], others: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Returns the median, the least and the most of the ratios of the rounds."""
    ratios = [one[key] / other[key] for one, other in zip(mine, others, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def started(code: str, *, one_thread: bool) -> subprocess.Popen[str]:
    """Returns a child that is ready."""
    environment = os.environ | ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if one_thread else {})
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(child, "READY")
    return child


def ask(child: subprocess.Popen[str], order: Any) -> dict[str, Any]:
    """Returns what a child tells of what it was told to do."""
    assert child.stdin is not None
    child.stdin.write(json.dumps(order) + "\n")
    child.stdin.flush()
    told: dict[str, Any] = json.loads(wait_for(child, "{"))
    return told


def wait_for(child: subprocess.Popen[str], start: str) -> str:
    """Returns the next line of a child that begins so."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(start):
            return line
    assert child.stderr is not None
    raise SystemExit(child.stderr.read())


def write_pictures(place: Path, width: int, height: int) -> list[str]:
    """Returns the paths of the two photographs that scikit-learn has, as JPEGs of this size."""
    paths = []
    for name in ("china.jpg", "flower.jpg"):
        path = place / f"{width}-{name}"
        picture = Image.fromarray(load_sample_image(name))
        picture.resize((width, height), Image.Resampling.LANCZOS).save(path, quality=90)
        paths.append(str(path))
    return paths


def figures(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns for each contestant, size and number of threads the images per second and their ratio to mmcls's.

    The ratio is the median of the ratios of the rounds, each to mmcls in the same round.
    """
    rows = []
    for size in SIZES:
        for threads in THREADS:
            here = [run for run in runs if run["size"] == list(size[:2]) and run["threads"] == threads]
            stock = {run["turn"]: run["seconds"] for run in here if run["name"] == STOCK}
            for name in dict.fromkeys(run["name"] for run in here):
                own = [run for run in here if run["name"] == name]
                speeds = [run["pictures"] / run["seconds"] for run in own]
                row: dict[str, Any] = {"name": name, "size": f"{size[0]}x{size[1]}", "threads": threads}
                row |= {"images_per_second": statistics.median(speeds), "smallest": min(speeds), "largest": max(speeds)}
                row["processor_ms"] = statistics.median(1e3 * run["processor"] / run["pictures"] for run in own)
                if stock:
                    ratios = [stock[run["turn"]] / run["seconds"] for run in own]
                    row |= {"ratio": statistics.median(ratios), "ratio_spread": [min(ratios), max(ratios)]}
                rows.append(row)
    return rows


def add_differences(rows: list[dict[str, Any]], numbers: dict[str, int], place: Path) -> None:
    """Adds how far pixel values are from those of mmcls, or without it from our exact ones, in levels of 255."""
    first = STOCK if STOCK in numbers else "ours, exact"
    for row in rows:
        width = row["size"].split("x")[0]
        own, other = (np.load(place / f"{numbers[name]}-{width}.npy") for name in (row["name"], first))
        difference = np.abs(own - other)
        row["mean_difference"] = float(difference.mean())
        row["within_one"] = float((np.rint(difference) <= 1).mean())


def table(rows: list[dict[str, Any]]) -> Table:
    """Returns the figures as a table for people."""
    shown = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("size", "threads", "", "images/s", "spread", f"x {STOCK}", "spread", "mean off", "within 1"):
        shown.add_column(heading, justify="left" if heading == "" else "right")
    for row in rows:
        ratio, spread = "", ""
        if "ratio" in row:
            ratio, spread = f"{row['ratio']:.2f}", "{:.2f} - {:.2f}".format(*row["ratio_spread"])
        speeds = f"{row['images_per_second']:.1f}", f"{row['smallest']:.1f} - {row['largest']:.1f}"
        off = f"{row['mean_difference']:.4f}", f"{row['within_one']:.2%}"
        shown.add_row(row["size"], str(row["threads"]), row["name"], *speeds, ratio, spread, *off)
    return shown


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns what somebody needs who wants to repeat the run."""
    option = " --end-to-end" if arguments.end_to_end else ""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": f"python benchmarks/decoding.py --rounds {arguments.rounds}{option}",
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES if is_installed(name)},
    }


def is_installed(package: str) -> bool:
    """Tells whether a distribution of this name is there."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
