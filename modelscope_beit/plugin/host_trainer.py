"""Opens a trainer through ModelScope's own ``build_trainer()``, for our commands, which do not import ModelScope."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from modelscope.msdatasets import MsDataset
from modelscope.trainers import build_trainer
from modelscope.trainers.base import BaseTrainer

from modelscope_beit import names


def open_trainer(
    model: str | Path, data: Path, *, work_dir: Path, cache: Path, cfg_modify_fn: Callable[[Any], Any]
) -> BaseTrainer:
    """Returns what ModelScope builds to train a model on the processor, as the model cards' scripts do.

    data: a folder with the parts train and val, each a folder of class folders. cache: where MsDataset keeps its table
    of the pictures; it is made anew when they change. cfg_modify_fn: changes the recipe.
    """
    trainer: BaseTrainer = build_trainer(
        name=names.TRAINER,
        default_args={
            "model": str(model),
            "work_dir": str(work_dir),
            "train_dataset": _load(data, "train", cache),
            "eval_dataset": _load(data, "validation", cache),
            "cfg_modify_fn": cfg_modify_fn,
            "device": "cpu",
        },
    )
    return trainer


def _load(data: Path, split: str, cache: Path) -> MsDataset:
    """One part; without the bars of the package datasets, which say "Downloading" of pictures that are on this disk."""
    with redirect_stderr(io.StringIO()):
        return MsDataset.load(str(data), split=split, cache_dir=str(cache))
