"""Does BEiT v2's pre-training help a small network? Both stages, then fine-tuning on few and many labels; two cores.

A network of four blocks learns from 10,000 unlabelled pictures of Fashion-MNIST: first a tokenizer, taught by the
features of EfficientNet-Lite0 (ImageNet), then masked image modelling. It is fine-tuned on 1 %, 10 % and all of the
labels of these pictures, beside the same network from scratch: with equal fine-tuning, and with equal arithmetic in
all (its fine-tuning is longer by what both stages took; the teacher's pass over its pictures is told, not counted).
Three seeds; each draws its own start, labels and order. All are measured on 5,000 test pictures, once, at the end;
with --rehearsal on 5,000 training pictures that nothing learned from, as the recipes here were chosen.

  python benchmarks/pretraining_proof.py [--work FOLDER] [--out FILE] [--rehearsal] [--tiny]

What is done is kept in FOLDER: a second call goes on where the first one was stopped.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from pretraining_proof_part import ARMS, FASHION_MNIST, PRETRAINED, SCRATCH, SCRATCH_LONGER, Sizes, flops, longer
from scipy import stats

RESULTS = Path(__file__).parent / "results"
TINY = replace(
    Sizes(), unlabelled=200, taught=100, tested=100, width=16, depth=2, teacher_image=64, codes=16, tokenizer_epochs=2,
    masked_epochs=2, labels=(20, 100, 200), epochs=(1, 1, 1), pretraining_batch=32, seeds=2,
)  # fmt: skip
WORDS = {
    PRETRAINED: "pre-trained, then fine-tuned",
    SCRATCH: "from scratch, equal fine-tuning",
    SCRATCH_LONGER: "from scratch, equal compute in all",
}


def parts_of(sizes: Sizes) -> list[tuple[str, tuple[str, ...]]]:
    """Returns each part and the parts that must be done before it, in the order in which they should begin."""
    seeds = range(sizes.seeds)
    # The longest first, so that no core is left without work at the end.
    parts: list[tuple[str, tuple[str, ...]]] = [("tokenizer", ())]
    parts += [(f"{SCRATCH_LONGER}-{seed}", ()) for seed in seeds]
    parts += [(f"masked-{seed}", ("tokenizer",)) for seed in seeds]
    parts += [(f"{PRETRAINED}-{seed}", (f"masked-{seed}",)) for seed in seeds]
    return parts + [(f"{SCRATCH}-{seed}", ()) for seed in seeds]


def run_parts(work: Path, sizes: Sizes, at_once: int) -> None:
    """Runs what is not done yet, so many parts at once, each on one core; raises SystemExit if one fails."""
    waiting = [(part, needs) for part, needs in parts_of(sizes) if not (work / f"{part}.json").exists()]
    running: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or running:
        for part, needs in [item for item in waiting if all((work / f"{need}.json").exists() for need in item[1])]:
            if len(running) < at_once:
                waiting.remove((part, needs))
                running[part] = _start(work, part)
                print(f"{time.strftime('%H:%M:%S')} {part} begins", flush=True)
        for part, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[part]
            print(f"{time.strftime('%H:%M:%S')} {part} ended with {process.returncode}", flush=True)
            if process.returncode:
                raise SystemExit(f"{part} failed; see {work / (part + '.log')}")
        time.sleep(0.5)


def _start(work: Path, part: str) -> "subprocess.Popen[bytes]":
    script = Path(__file__).with_name("pretraining_proof_part.py")
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    with (work / f"{part}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, str(script), str(work), part], stdout=log, stderr=log, env=environment)


def summary(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Returns all results: each accuracy, means with 95 % intervals (Student's t), differences seed by seed."""
    found = {part: json.loads((work / f"{part}.json").read_text()) for part, _ in parts_of(sizes)}
    cost = flops(sizes)
    table: dict[str, Any] = {}
    for labels, epochs in zip(sizes.labels, sizes.epochs, strict=True):
        runs = {arm: [found[f"{arm}-{seed}"][str(labels)] for seed in range(sizes.seeds)] for arm in ARMS}
        accuracies = {arm: np.array([run["accuracy"] for run in runs[arm]]) for arm in ARMS}
        table[str(labels)] = {
            "epochs": {arm: runs[arm][0]["epochs"] for arm in ARMS},
            "accuracies": {arm: values.tolist() for arm, values in accuracies.items()},
            "intervals": {arm: interval(values) for arm, values in accuracies.items()},
            "gains": {arm: interval(accuracies[PRETRAINED] - accuracies[arm]) for arm in (SCRATCH, SCRATCH_LONGER)},
            "epochs_of_equal_compute": longer(sizes, labels, epochs, cost),
        }
    stages = {part: value for part, value in found.items() if part.startswith(("tokenizer", "masked"))}
    return {"sizes": asdict(sizes), "flops_a_picture": cost, "table": table, "stages": stages}


def interval(values: np.ndarray) -> dict[str, float]:
    """Returns the mean of several seeds and the half width of its 95 % interval by Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": float(values.mean()), "half": float(half)}


def as_table(content: dict[str, Any], sizes: Sizes) -> str:
    """Returns the table as Markdown."""
    heads = [f"{labels:,} labels ({100 * labels / sizes.unlabelled:g} %)" for labels in sizes.labels]
    lines = [f"| top-1, % | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    rows = [content["table"][str(labels)] for labels in sizes.labels]
    for arm in ARMS:
        cells = [
            f"{row['intervals'][arm]['mean']:.2f} ± {row['intervals'][arm]['half']:.2f} ({row['epochs'][arm]} epochs)"
            for row in rows
        ]
        lines.append(f"| {WORDS[arm]} | {' | '.join(cells)} |")
    for arm in (SCRATCH, SCRATCH_LONGER):
        cells = [f"{row['gains'][arm]['mean']:+.2f} ± {row['gains'][arm]['half']:.2f}" for row in rows]
        lines.append(f"| gain over {WORDS[arm]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs all parts, writes the results and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("proof_of_pretraining"), help="where parts are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / f"pretraining_proof_{time.strftime('%Y-%m-%d')}.json")
    parser.add_argument("--at-once", type=int, default=2, help="parts at once, each on one core (default: 2)")
    parser.add_argument(
        "--rehearsal", action="store_true", help="measure on training pictures set aside, to choose a recipe"
    )
    parser.add_argument("--tiny", action="store_true", help="minutes, to try the script; the numbers say nothing")
    arguments = parser.parse_args()
    if not FASHION_MNIST.is_dir():
        raise SystemExit(f"There is no {FASHION_MNIST}. On Debian and Ubuntu: apt-get install dataset-fashion-mnist")
    sizes = replace(TINY if arguments.tiny else Sizes(), is_rehearsal=arguments.rehearsal)
    arguments.work.mkdir(parents=True, exist_ok=True)
    (arguments.work / "sizes.json").write_text(json.dumps(asdict(sizes)))
    began = time.time()
    run_parts(arguments.work, sizes, arguments.at_once)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    content = summary(arguments.work, sizes) | {
        "minutes_of_this_call": (time.time() - began) / 60,
        # What it takes on cores of its own, whatever else the machine did.
        "processor_minutes_of_this_call": (used.ru_utime + used.ru_stime) / 60,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "at_once": arguments.at_once,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(content, indent=2) + "\n")
    print(as_table(content, sizes))


if __name__ == "__main__":
    main()
