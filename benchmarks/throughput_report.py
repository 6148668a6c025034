"""What throughput.py makes of its turns: figures, tables for a terminal and for Markdown, a picture."""

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

NEEDED = ("torch", "modelscope", "mmcv", "mmcls", "timm", "transformers", "onnx", "onnxruntime", "openvino", "numpy")
# What decides how fast products can be.
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_bf16", "amx_int8")
PRODUCTS = "matrix products"
OURS = "ours"
HEADINGS = ("batch", "contestant", "precision", "images/s", "spread", "x anchor", "x best peer", "p50 ms", "p99 ms")
HEADINGS += ("peak MiB", "% of products", "rms % of spread")
COLORS = ("#d9480f", "#f76707", "#ffa94d", "#1864ab", "#2b8a3e", "#862e9c", "#0b7285", "#495057")


def figures(groups: dict[str, list[dict[str, Any]]], facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each contestant and batch size: medians over rounds, smallest and largest.

    Ratios are of the same round: both sides had the machine at almost the same time.
    """
    rows = []
    for precision, group in groups.items():
        for batch in next(iter(group))["turns"]:
            speeds = {row["name"]: speeds_of(row["turns"][batch], batch) for row in group if is_in(row, precision)}
            anchor = next(speeds_of(row["turns"][batch], batch) for row in group if row["is_anchor"])
            products = speeds.pop(PRODUCTS, None)
            rate = None if products is None else statistics.median(products) * facts["flop_in_linears"]
            told = []
            for row in group:
                if row["name"] in speeds and is_in(row, precision):
                    shown = figure(row, batch, speeds[row["name"]], anchor)
                    shown["products_flops"] = rate
                    shown["share_of_products"] = rate and shown["images_per_second"] * facts["flop"] / rate
                    told.append(shown)
            # The one that --backend auto would take.
            fastest = max(filter(is_ours, told), key=lambda row: row["images_per_second"])
            fastest |= beside_best_peer(speeds, fastest["name"])
            rows += told
    return rows


def is_ours(row: dict[str, Any]) -> bool:
    """Tells whether a row is one of the forms of ours."""
    return str(row["name"]).startswith(OURS)


def is_in(row: dict[str, Any], precision: str) -> bool:
    """Tells whether a contestant belongs to a precision; the anchor of another one only runs beside."""
    return bool(row["precision"] == precision)


def speeds_of(turns: list[dict[str, Any]], batch: int) -> list[float]:
    """Returns the images per second of each round."""
    return [batch * len(turn["times"]) / sum(turn["times"]) for turn in turns]


def figure(row: dict[str, Any], batch: int, speeds: list[float], anchor: list[float]) -> dict[str, Any]:
    """Returns the figures of a contestant with one batch size."""
    turns = row["turns"][batch]
    times = [one for turn in turns for one in turn["times"]]
    ratios = [mine / its for mine, its in zip(speeds, anchor, strict=True)]
    shown = {key: value for key, value in row.items() if key != "turns"}
    return shown | {
        "batch": batch,
        "images_per_second": statistics.median(speeds),
        "smallest": min(speeds),
        "largest": max(speeds),
        "times_anchor": {"median": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)},
        "p50_seconds": float(np.percentile(times, 50)) if batch == 1 else None,
        "p99_seconds": float(np.percentile(times, 99)) if batch == 1 else None,
        "passes": len(times),
        "peak_bytes": max(turn["peak_bytes"] for turn in turns),
    }


def beside_best_peer(speeds: dict[str, list[float]], own: str) -> dict[str, Any]:
    """Returns the ratio of a form of ours to the peer of the same precision that has the largest median."""
    peers = {name: statistics.median(its) for name, its in speeds.items() if not name.startswith(OURS)}
    if not peers:
        return {}
    best = max(peers, key=lambda name: peers[name])
    ratios = [mine / its for mine, its in zip(speeds[own], speeds[best], strict=True)]
    told = {"name": best, "median": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)}
    return {"times_best_peer": told}


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Returns a figure's row in words, one for each of HEADINGS."""
    ratio, best, share = row["times_anchor"], row.get("times_best_peer"), row["share_of_products"]
    latency = [row["p50_seconds"], row["p99_seconds"]]
    return (
        str(row["batch"]),
        row["name"],
        row["precision"],
        f"{row['images_per_second']:.2f}",
        f"{row['smallest']:.2f} - {row['largest']:.2f}",
        f"{ratio['median']:.2f} ({ratio['smallest']:.2f} - {ratio['largest']:.2f})",
        f"{best['median']:.2f} ({best['smallest']:.2f} - {best['largest']:.2f}) {best['name']}" if best else "",
        *("" if seconds is None else f"{1000 * seconds:.1f}" for seconds in latency),
        f"{row['peak_bytes'] / 2**20:,.0f}",
        "" if share is None else f"{100 * share:.0f}",
        f"{100 * row['rms_difference'] / row['spread']:.2g}",
    )


def terminal_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the figures as a table for a terminal."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("contestant", "precision") else "right")
    for row in rows:
        table.add_row(*cells(row), style="bold" if is_ours(row) else None)
    return table


def markdown(record: dict[str, Any]) -> str:
    """Returns the figures as a page of Markdown, with what they mean and who was missing."""
    about, versions = record["about"], ", ".join(f"{name} {it}" for name, it in record["about"]["versions"].items())
    lines = [
        f"# Forward passes of BEiT v2 {record['size']} on a processor, {about['date']}",
        "",
        f"`{about['command']}` on {about['cpu']}, {about['cores']} cores ({', '.join(about['flags'])}), load "
        f"{' '.join(f'{load:.1f}' for load in about['load_average'] or ())} at the start; {versions}.",
        "",
        f"Medians of {record['rounds']} rounds, smallest and largest; ratios are of the same round. x anchor: to "
        f"{anchor_of(record)} in fp32. x best peer: of our fastest form, which `--backend auto` takes, to the fastest "
        "other one of the same precision. p50 and p99 are of all passes with one picture. Peak memory is that of the "
        "process since its start. % of products: arithmetic per second, in parts of that of plain products of the "
        "same shapes in the same rounds, by MKL or oneDNN, whichever is faster; a runtime with kernels of its own can "
        "be above 100. rms: of the logits' difference from the anchor.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + " --- |" * len(HEADINGS),
        *("| " + " | ".join(cells(row)) + " |" for row in record["figures"]),
        "",
        *(f"- {text}" for text in absences(record)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def anchor_of(record: dict[str, Any]) -> str:
    """Returns the name of the contestant that all others are compared with."""
    return next(str(row["name"]) for group in record["groups"].values() for row in group if row["is_anchor"])


def absences(record: dict[str, Any]) -> Iterator[str]:
    """Yields who took no part, and why."""
    for name, missing in record["not_installed"].items():
        yield f"{name} took no part: {', '.join(missing)} not installed."
    for precision, refusals in record["refusals"].items():
        for name, reason in refusals.items():
            yield f"{name} took no part in {precision}: {reason}."


def draw(record: dict[str, Any], path: Path) -> None:
    """Draws images per second as bars, a panel for each precision, with a line from smallest to largest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = {name: [row for row in record["figures"] if row["precision"] == name] for name in record["groups"]}
    figure, axes = pyplot.subplots(1, len(groups), figsize=(1.5 + 4.5 * len(groups), 4.2), squeeze=False)
    names = list(dict.fromkeys(row["name"] for row in record["figures"]))
    names.sort(key=lambda name: not name.startswith(OURS))
    colors = dict(zip(names, COLORS, strict=False))
    for axis, (precision, rows) in zip(axes[0], groups.items(), strict=True):
        batches = sorted({row["batch"] for row in rows})
        there = [name for name in names if any(row["name"] == name for row in rows)]
        for place, name in enumerate(there):
            own = [row for row in rows if row["name"] == name]
            middle = [row["images_per_second"] for row in own]
            reach = [
                [row["images_per_second"] - row["smallest"] for row in own],
                [row["largest"] - row["images_per_second"] for row in own],
            ]
            where = np.arange(len(batches)) + 0.85 * (place - (len(there) - 1) / 2) / len(there)
            axis.bar(where, middle, 0.8 / len(there), yerr=reach, capsize=2, label=name, color=colors[name])
        axis.set_xticks(range(len(batches)), [f"batch {batch}" for batch in batches])
        axis.set_title(precision)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False)
    axes[0][0].set_ylabel("images per second")
    figure.suptitle(
        f"BEiT v2 {record['size']}, {record['about']['cpu']}, {record['about']['cores']} cores", fontsize=10
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def about_machine(command: str) -> dict[str, Any]:
    """Returns what somebody needs who wants to repeat the run."""
    cpu, flags = processor()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "cpu": cpu,
        "flags": flags,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as each takes"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": dict(_versions()),
    }


def processor() -> tuple[str, list[str]]:
    """Returns the processor's name and those of FLAGS that it has; of other systems than Linux the name only."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor(), []
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in found.items()}
    flags = facts.get("flags", "").split()
    return facts.get("model name", platform.processor()), [flag for flag in FLAGS if flag in flags]


def _versions() -> Iterator[tuple[str, str]]:
    for name in NEEDED:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
