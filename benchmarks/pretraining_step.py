"""A step of each stage of pre-training at its published size: measured here, and a roofline on paper for one H200.

  python benchmarks/pretraining_step.py --rounds 3 --batch 4

Counted: floating-point operations of a step (forward and backward of what is trained, forward of what is frozen), by
torch's own counter. Measured, in turns: the step, and matrix products of the network's shape; their ratio is the
utilisation (MFU) that the code reaches on whatever machine this is. The roofline applies it to the data sheet of an
H200: no such GPU was measured. The cores that must decode beside it follow from the time that one crop takes here.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modelscope_beit.pretraining.masked_model import build_masked_model
from modelscope_beit.pretraining.masked_stage import MaskedStage
from modelscope_beit.pretraining.stage import StageBatch
from modelscope_beit.pretraining.tokenizer_stage import TokenizerLoss
from modelscope_beit.pretraining.vq_kd import Tokenizer
from modelscope_beit.settings.masked_pretraining import masked_pretraining_settings
from modelscope_beit.settings.tokenizer import TokenizerSettings

RESULTS = Path(__file__).resolve().parent / "results"
# NVIDIA H200 SXM, data sheet: dense bf16 and memory.
H200_FLOPS, H200_BYTES = 989.5e12, 4.8e12
# Of matrix products of such shapes on that generation, as a share of the data sheet; on paper, too.
ASSUMED_PRODUCTS = 0.7
# Sides of a photograph as ImageNet has it.
_PHOTOGRAPH = (500, 375)
_PRODUCTS_PER_ROUND = 5


def main() -> None:
    """Measures, prints the table, writes the figures to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="steps of each stage, the best counts (default: 3)")
    parser.add_argument("--batch", type=int, default=4, help="pictures a step here (default: 4)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    arguments = parser.parse_args()
    console = Console()
    rows = []
    for name, make in (("tokenizer", tokenizer_step), ("masked", masked_step)):
        with console.status(f"{name}: counted and measured"):
            rows.append(measured(name, *make(arguments.batch), arguments))
    record = {
        "about": {
            "date": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
            "machine": f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, float32",
            "batch": arguments.batch,
            "rounds": arguments.rounds,
        },
        "stages": rows,
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"pretraining_step_{datetime.now(timezone.utc):%Y-%m-%d_%H%M%S}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    console.print(table(rows))
    products = max(row["product_flops_a_second"] for row in rows)
    console.print(f"Matrix products of the network's shape: {products / 1e9:,.0f} GFLOP/s here. Figures: {path}")


def tokenizer_step(batch: int) -> tuple[nn.Module, StageBatch, Callable[[], object], float]:
    """Returns network, batch, the frozen pass (a teacher as large as the encoder), and seconds to make one crop."""
    torch.manual_seed(0)
    settings = TokenizerSettings()
    tokenizer = Tokenizer(settings)
    tokenizer.codebook.is_started.fill_(True)
    images = torch.rand(batch, 3, *settings.image_size)
    content = {"images": images, "targets": torch.randn(batch, settings.num_patches, settings.target_width)}
    # CLIP's and DINO's ViT-B/16 are what the encoder is.
    return TokenizerLoss(tokenizer).train(), content, lambda: tokenizer.encoder_tokens(images), crop_seconds(None)


def masked_step(batch: int) -> tuple[nn.Module, StageBatch, Callable[[], object], float]:
    """Returns network, batch, the frozen pass (the tokenizer's codes), and seconds to make one crop."""
    torch.manual_seed(0)
    settings = masked_pretraining_settings("base")
    tokenizer = Tokenizer(TokenizerSettings()).eval()
    tokenizer.codebook.is_started.fill_(True)
    stage = MaskedStage(settings, build_masked_model(settings), tokenizer)
    picture = Image.effect_noise(_PHOTOGRAPH, 64).convert("RGB")
    samples = [stage.sample(picture, np.random.default_rng(row)) for row in range(batch)]
    pixels = torch.stack([sample["pixels"] for sample in samples]).float() / 255
    content = stage.complete({name: torch.stack([sample[name] for sample in samples]) for name in samples[0]})
    return stage.network.train(), content, lambda: tokenizer.tokenize(pixels), crop_seconds(stage)


def crop_seconds(stage: MaskedStage | None) -> float:
    """Returns the seconds that one core takes for the views and the mask of a photograph; None: a crop alone."""
    picture, began = Image.effect_noise(_PHOTOGRAPH, 64).convert("RGB"), time.process_time()
    for row in range(20):
        if stage is None:
            picture.resize((224, 224), Image.Resampling.BICUBIC, box=(10, 10, 400, 300))
        else:
            stage.sample(picture, np.random.default_rng(row))
    return (time.process_time() - began) / 20


def measured(
    name: str,
    network: nn.Module,
    content: StageBatch,
    frozen: Callable[[], object],
    crop: float,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Returns operations a picture, seconds of a step, the utilisation here, and what an H200 would make of it."""

    def step() -> None:
        network(content)[0].backward()
        network.zero_grad(set_to_none=True)

    with torch.no_grad():
        frozen_flops = counted(frozen) / arguments.batch
    trained_flops = counted(step) / arguments.batch
    seconds, products = [], 0.0
    for _ in range(arguments.rounds):
        products = max(products, product_rate(arguments.batch))
        began = time.perf_counter()
        step()
        with torch.no_grad():
            frozen()
        seconds.append(time.perf_counter() - began)
    flops = trained_flops + frozen_flops
    utilisation = arguments.batch * flops / min(seconds) / products
    on_paper = H200_FLOPS * ASSUMED_PRODUCTS * min(utilisation, 1.0) / flops
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        "stage": name,
        "parameters": parameters,
        "gflop_trained_a_picture": trained_flops / 1e9,
        "gflop_frozen_a_picture": frozen_flops / 1e9,
        "seconds_a_step": {"best": min(seconds), "median": statistics.median(seconds)},
        "images_a_second_here": arguments.batch / min(seconds),
        "product_flops_a_second": products,
        "utilisation_of_products": utilisation,
        "h200_images_a_second_on_paper": on_paper,
        # AdamW reads and writes weight, gradient and two moments in float32 once a step.
        "h200_ms_of_the_optimizer": 7 * 4 * parameters / H200_BYTES * 1e3,
        "cores_that_decode_for_it": on_paper * crop,
        "ms_a_crop_on_a_core_here": 1e3 * crop,
    }


def counted(step: Callable[[], object]) -> float:
    """Returns the floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def product_rate(batch: int) -> float:
    """Returns operations a second, at best, of the widest product of a block, (tokens, 768) times (768, 3072)."""
    left, right = torch.randn(197 * batch, 768), torch.randn(768, 3072)
    seconds = []
    for _ in range(_PRODUCTS_PER_ROUND):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return 2 * left.numel() * right.shape[1] / min(seconds)


def table(rows: list[dict[str, Any]]) -> Table:
    """Returns what a person reads."""
    shown = Table(
        "stage", "GFLOP a picture", "images/s here", "of matrix products", "H200, on paper", "cores to decode"
    )
    for row in rows:
        flops = row["gflop_trained_a_picture"] + row["gflop_frozen_a_picture"]
        shown.add_row(
            row["stage"],
            f"{flops:,.1f} ({row['gflop_frozen_a_picture']:,.1f} frozen)",
            f"{row['images_a_second_here']:.2f}",
            f"{row['utilisation_of_products']:.0%}",
            f"{row['h200_images_a_second_on_paper']:,.0f} images/s",
            f"{row['cores_that_decode_for_it']:.0f}",
        )
    return shown


if __name__ == "__main__":
    main()
