"""Pictures of masked image modelling: what was hidden and guessed, and how well each code is guessed."""

import colorsys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.pretraining.masked_gauges import GUESSES, GuessCounts
from modelscope_beit.pretraining.stage import StageBatch
from modelscope_beit.settings.masked_pretraining import ViewSettings

_MOST_PICTURES = 6
_COLUMNS = ("picture", "seen", "true codes", *(f"{name} guess" for name in GUESSES))
_INCHES, _DPI = 1.9, 100
_GREY = 0.5
# One turn of the colour wheel, divided by the golden ratio again and again, puts neighbouring codes far apart.
_GOLDEN = 0.6180339887498949


def draw_guesses(path: Path, batch: StageBatch, logits: Tensor, grid: tuple[int, int], views: ViewSettings) -> Path:
    """Writes a row for each of the first pictures of a batch: it, what was seen, its codes, and both guesses.

    batch: completed. logits: (G, N, M, V). grid: (rows, columns) of patches. Each code has a colour; only hidden
    patches are coloured where guessed, and wrong guesses have a cross. Returns the path.
    """
    count = min(_MOST_PICTURES, len(batch["images"]))
    guesses = logits.argmax(dim=-1).cpu().numpy()  # (G, N, M)
    columns = len(_COLUMNS) - len(GUESSES) + len(guesses)

    def draw(figure: Any) -> None:
        axes = figure.subplots(count, columns, squeeze=False)
        for row in range(count):
            picture = _pixels(batch["images"][row], views)
            mask = batch["mask"][row].cpu().numpy().reshape(grid)
            codes = batch["code_map"][row].cpu().numpy().reshape(grid)
            cells = [picture, np.where(_enlarged(mask, picture)[:, :, None], _GREY, picture), _coloured(codes)]
            for guess in guesses:
                guessed = np.zeros_like(codes)
                guessed[mask] = guess[row]
                cells.append(np.where(mask[:, :, None], _coloured(guessed), _GREY))
                wrong_rows, wrong_columns = np.nonzero(mask & (guessed != codes))
                axes[row, len(cells) - 1].plot(wrong_columns, wrong_rows, "x", color="black", markersize=3)
            for axis, cell, title in zip(axes[row], cells, _COLUMNS, strict=False):
                axis.imshow(cell, interpolation="nearest")
                axis.set_axis_off()
                if row == 0:
                    axis.set_title(title, fontsize=9)

    return _written(path, (columns * _INCHES, count * _INCHES + 0.3), draw)


def draw_codes(path: Path, counts: GuessCounts) -> Path:
    """Writes the accuracy of the final guess for each code over how often the code occurred; returns the path."""
    occurred = counts.occurred.numpy()
    places = np.flatnonzero(occurred)
    accuracy = 100 * counts.right.numpy()[places] / occurred[places]

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        axis.scatter(occurred[places], accuracy, s=6, alpha=0.4, color="#1f5fa8", linewidths=0)
        axis.set_xscale("log")
        axis.set_ylim(-2, 102)
        axis.set_xlabel(f"hidden patches with this code, of {counts.total:,}; {len(places):,} codes occurred")
        axis.set_ylabel("guessed rightly, %")
        axis.grid(alpha=0.3)

    return _written(path, (7.0, 4.0), draw)


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


def _pixels(image: Tensor, views: ViewSettings) -> np.ndarray:
    """Returns (H, W, 3) from 0 to 1 of a normalised image (3, H, W)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (views.mean, views.std))
    pixels: np.ndarray = (image.cpu().float() * std + mean).clamp(0, 1).permute(1, 2, 0).numpy()
    return pixels


def _enlarged(mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Returns (H, W), each patch as large as it is in the picture (H, W, 3)."""
    height, width = picture.shape[0] // mask.shape[0], picture.shape[1] // mask.shape[1]
    return np.kron(mask, np.ones((height, width), bool))


def _coloured(codes: np.ndarray) -> np.ndarray:
    """Returns (rows, columns, 3) from 0 to 1: the same colour for the same code, of (rows, columns)."""
    colours = [colorsys.hsv_to_rgb(code * _GOLDEN % 1, 0.45 + 0.5 * (code % 3) / 2, 0.95) for code in codes.flat]
    return np.array(colours).reshape(*codes.shape, 3)
