"""Small training jobs on real pictures, for tests in this process and for scripts that tests kill."""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import helpers
from modelscope_beit.checkpoints.files import write_weights
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.mm_model import read_mm_model
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.job import TrainingJob

CLASSES = ("china", "flower", "dark")

_TRAIN = {
    "max_epochs": 3,
    "dataloader": {"batch_size_per_gpu": 4, "workers_per_gpu": 0},
    "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
    "optimizer_config": {"grad_clip": None},
    "lr_config": {"policy": "CosineAnnealing", "by_epoch": False, "min_lr": 0.0},
    "checkpoint_config": {"interval": 1},
    "log_config": {"interval": 2, "hooks": [{"type": "TextLoggerHook"}]},
    "evaluation": {"interval": 1, "metric": "accuracy", "metric_options": {"topk": [1]}, "save_best": "auto"},
    "precision": "fp32",
}


def crops(number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Returns rows of pictures cut out of two photographs; every third one is darkened and of class 2."""
    rng = np.random.default_rng(seed)
    photographs = helpers.photographs()
    rows = []
    for index in range(number):
        label = index % 3
        picture = photographs[label % 2]
        left, top = int(rng.integers(0, 560)), int(rng.integers(0, 347))
        crop = picture.crop((left, top, left + 80, top + 80))
        rows.append({"image": Image.eval(crop, lambda value: value // 8) if label == 2 else crop, "label": label})
    return rows


def configuration(changes: Mapping[str, Any] | None = None, *, drop_path: float = 0.1) -> dict[str, Any]:
    """Returns the tiny configuration with a recipe; changes: keys of `train` to set otherwise."""
    content = copy.deepcopy(helpers.TINY_CONFIGURATION)
    content["model"]["mm_model"]["head"]["num_classes"] = len(CLASSES)
    content["model"]["mm_model"]["backbone"]["drop_path_rate"] = drop_path
    content["train"] = copy.deepcopy(_TRAIN) | dict(changes or {})
    normalize = content["preprocessor"]["val"][3]
    content["preprocessor"]["train"] = [
        {"type": "LoadImageFromFile"},
        {"type": "RandomResizedCrop", "size": 32, "backend": "pillow", "interpolation": "bicubic"},
        {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"},
        normalize,
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "ToTensor", "keys": ["gt_label"]},
        {"type": "Collect", "keys": ["img", "gt_label"]},
    ]
    content["evaluation"] = {"dataloader": {"batch_size_per_gpu": 4, "workers_per_gpu": 0}, "metrics": ["accuracy"]}
    return content


def make_job(
    work_dir: Path, content: dict[str, Any] | None = None, *, num_train: int = 22, num_validation: int = 9
) -> TrainingJob:
    """Returns a job in work_dir, with start weights beside it that every process makes the same."""
    content = configuration() if content is None else content
    settings, recipe = read_recipe(content, where="the test's configuration")
    weights = work_dir.parent / "start.pth"
    if not weights.exists():
        torch.manual_seed(1)
        classifier = helpers.with_random_weights(build_classifier(read_mm_model(content["model"]["mm_model"])))
        write_weights(weights, classifier.state_dict(), {"CLASSES": list(CLASSES)})
    return TrainingJob(
        settings=dataclasses.replace(settings, class_names=CLASSES),
        recipe=recipe,
        start_weights=weights,
        configuration=content,
        train=records_of(crops(num_train), class_names=CLASSES),
        validation=records_of(crops(num_validation, seed=1), class_names=CLASSES) if num_validation else None,
        work_dir=work_dir,
        timestamp="20260101_000000",
        source="a tiny network",
        data="crops of two photographs",
        command="beit train tiny crops",
    )


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """Returns the weights in a checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return state
