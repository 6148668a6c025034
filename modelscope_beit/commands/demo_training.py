"""What the demo trains: the embedded model on handwritten digits, through ModelScope's own build_trainer().

Data: Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998,
CC BY 4.0), of which scikit-learn brings 1,797 pictures, 8 x 8 pixels in 17 shades.
"""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modelscope_beit import names
from modelscope_beit.errors import MissingPackageError, ModelFolderError
from modelscope_beit.evaluation.report import HTML_FILE, JSON_FILE
from modelscope_beit.plugin.host_trainer import open_trainer
from modelscope_beit.training.curves import CURVES_FILE

EPOCHS = 4

_SIDE = 28  # of the embedded model's pictures
_MOST_INK = 16
_HELD_OUT = 5  # Every so manieth picture of a class.
_METRIC = "accuracy_top-1"


@dataclass(frozen=True)
class DigitsRun:
    """What came out. Accuracies are in percent, low and high the bounds of their 95 % interval.

    seconds: of training, the validation after each epoch included. images_per_second: training pictures in them.
    """

    epochs: int
    accuracy: float
    low: float
    high: float
    num_train: int
    num_held_out: int
    seconds: float
    images_per_second: float
    report: Path
    curves: Path
    output: Path


def write_digits(folder: Path) -> None:
    """Writes the digits as PNG files of 28 x 28 pixels, light on black: folder/train/0/ and so on to folder/val/9/.

    Every fifth picture of a class goes to val. A folder that is there is left as it is; it appears as a whole.
    Raises MissingPackageError without scikit-learn, ModelFolderError if the disk refuses.
    """
    if folder.exists():
        return
    try:
        # Not a requirement of the package: only the demo needs its pictures.
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError(
            "the pictures, 1,797 handwritten digits, come with scikit-learn, which is not installed: "
            "pip install scikit-learn"
        ) from error
    digits = load_digits()
    half = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        for digit in range(10):
            for number, index in enumerate(np.flatnonzero(digits.target == digit)):
                part = "val" if number % _HELD_OUT == 0 else "train"
                path = half / part / str(digit) / f"{index:04}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                _as_picture(digits.images[index]).save(path)
        half.rename(folder)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        raise ModelFolderError(f"The digits cannot be written to {folder}: {error}. Choose --out DIR.") from error


def held_out_pictures(folder: Path) -> dict[Path, str]:
    """Returns the first held-out picture of each class, whatever a network says of it, and its class."""
    classes = sorted(path for path in (folder / "val").iterdir() if path.is_dir())
    return {min(path.glob("*.png")): path.name for path in classes}


def fine_tune(model: Path, digits: Path, work_dir: Path) -> DigitsRun:
    """Trains a model folder on what write_digits wrote, and measures the best weights on the held-out pictures.

    An earlier run in work_dir is replaced. Raises KeyboardInterrupt after Ctrl-C, when the state has been saved.
    """
    trainer: Any = open_trainer(
        model, digits, work_dir=work_dir, cache=work_dir.with_name("cache"), cfg_modify_fn=_change_recipe
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    accuracy = trainer.evaluate()[_METRIC]
    report = json.loads((work_dir / JSON_FILE).read_text(encoding="utf-8"))
    low, high = report["intervals"][_METRIC]
    num_train = len(trainer.train_dataset)
    return DigitsRun(
        epochs=EPOCHS,
        accuracy=accuracy,
        low=low,
        high=high,
        num_train=num_train,
        num_held_out=report["pictures"],
        seconds=seconds,
        images_per_second=EPOCHS * num_train / seconds,
        report=work_dir / HTML_FILE,
        curves=work_dir / CURVES_FILE,
        output=work_dir / names.RUN_OUTPUT,
    )


def _change_recipe(cfg: Any) -> Any:
    """Changes the recipe as a model card's script does: short, and with crops that leave a digit what it is."""
    cfg.train.max_epochs = EPOCHS
    cfg.train.dataloader.batch_size_per_gpu = 16
    cfg.train.optimizer.lr = 1e-3
    # A mirrored digit is another sign, and so is a small part of one.
    cfg.preprocessor.train = [step for step in cfg.preprocessor.train if step.type != "RandomFlip"]
    for step in cfg.preprocessor.train:
        if step.type == "RandomResizedCrop":
            step.scale, step.ratio = (0.7, 1.0), (0.8, 1.25)
    return cfg


def _as_picture(shades: np.ndarray) -> Image.Image:
    """Returns an enlarged grey picture of (8, 8) shades from 0 to 16."""
    pixels = (shades * (255 / _MOST_INK)).round().astype(np.uint8)
    return Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
