"""Pictures of a tokenizer: the codes of pictures, the patches that codes stand for, and how training went."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.pretraining.codebook import Quantized
from modelscope_beit.pretraining.stage import GaugeRow

_MOST_PICTURES, _MOST_CODES, _PATCHES_OF_A_CODE = 8, 16, 12
_INCHES, _DPI = 1.4, 110


def draw_token_maps(path: Path, images: Tensor, numbers: Tensor, codes: Tensor, grid: tuple[int, int]) -> Path:
    """Writes some pictures, and below each its codes, alike codes in alike colours; returns the path.

    images: (N, 3, H, W) from 0 to 1. numbers: (N, P). codes: (K, D). grid: (rows, columns) of patches.
    """
    colours, count = code_colours(codes), min(_MOST_PICTURES, len(images))

    def draw(figure: Any) -> None:
        axes = figure.subplots(2, count, squeeze=False)
        for place in range(count):
            axes[0, place].imshow(_pixels(images[place]))
            axes[1, place].imshow(colours[numbers[place].cpu().numpy().reshape(grid)], interpolation="nearest")
        for axis in axes.flat:
            axis.set_axis_off()

    return _written(path, (count * _INCHES, 2 * _INCHES), draw)


def draw_code_patches(path: Path, images: Tensor, quantized: Quantized, patch: int) -> Path:
    """Writes a row for each of the codes chosen most often: how many patches it has, and the nearest; returns the path.

    images: (N, 3, H, W) from 0 to 1, which were quantized. patch: side in pixels.
    """
    numbers = quantized.numbers.flatten().cpu()
    likeness = (quantized.features * quantized.vectors).sum(dim=-1).flatten().float().cpu()
    counts = torch.bincount(numbers)
    common = counts.argsort(descending=True, stable=True)[:_MOST_CODES]
    chosen: list[int] = common[counts[common] > 0].tolist()

    def draw(figure: Any) -> None:
        axes = figure.subplots(len(chosen), _PATCHES_OF_A_CODE, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for row, code in enumerate(chosen):
            axes[row, 0].set_title(f"code {code}, of {counts[code]} patches", fontsize=6, loc="left", pad=2)
            for column, place in enumerate(nearest_places(numbers, likeness, code)):
                axes[row, column].imshow(_patch_of(images, place, patch), interpolation="nearest")

    return _written(path, (_PATCHES_OF_A_CODE * _INCHES / 2, len(chosen) * _INCHES / 1.6), draw)


def draw_curves(path: Path, history: Sequence[GaugeRow]) -> Path:
    """Writes reconstruction and use of the codes over the iterations of rows of gauges; returns the path."""
    lines = (
        (("aside_cosine", "on pictures set aside"), ("train_cosine", "in training"), ("constant_cosine", "a constant")),
        (("codes_used", "codes used"), ("code_perplexity", "their perplexity")),
    )

    def draw(figure: Any) -> None:
        for axis, group, title in zip(figure.subplots(1, 2), lines, ("cosine to the teacher", "codes"), strict=True):
            for name, label in group:
                rows = [row for row in history if name in row]
                axis.plot([row["iteration"] for row in rows], [row[name] for row in rows], ".-", label=label)
            axis.set_title(title, fontsize=10)
            axis.set_xlabel("iteration")
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)

    return _written(path, (9.0, 3.4), draw)


def nearest_places(numbers: Tensor, likeness: Tensor, code: int) -> list[int]:
    """Returns the places of the patches most alike to their code, among those (M,) that have it, best first."""
    places = (numbers == code).nonzero().flatten()
    order = likeness[places].argsort(descending=True, stable=True)[:_PATCHES_OF_A_CODE]
    found: list[int] = places[order].tolist()
    return found


def code_colours(codes: Tensor) -> np.ndarray:
    """Returns (K, 3) from 0 to 1: where each code (K, D) lies along the three directions in which codes differ most."""
    centred = (codes - codes.mean(dim=0)).double().cpu()
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
    along = centred @ directions.t()
    along = torch.nn.functional.pad(along, (0, 3 - along.shape[1]))
    low, high = along.amin(dim=0), along.amax(dim=0)
    colours: np.ndarray = ((along - low) / (high - low).clamp(min=1e-12)).numpy()
    return colours


def _patch_of(images: Tensor, place: int, patch: int) -> np.ndarray:
    """Returns (patch, patch, 3), the pixels of a patch counted through all pictures, row by row."""
    columns = images.shape[3] // patch
    picture, inside = divmod(place, columns * (images.shape[2] // patch))
    top, left = inside // columns * patch, inside % columns * patch
    return _pixels(images[picture, :, top : top + patch, left : left + patch])


def _pixels(image: Tensor) -> np.ndarray:
    pixels: np.ndarray = image.float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return pixels


def _written(path: Path, inches: tuple[float, float], draw: Callable[[Any], None]) -> Path:
    # It takes most of a second to import, and training should start at once. No pyplot: it keeps state for the whole
    # process, and may open windows.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=_DPI, layout="constrained")
    draw(figure)
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda beside: canvas.print_png(beside))
    return path
