"""The recipe of MindSpore's ViT tutorial: its learning rates and its loss by MindSpore's formulas, a run in small."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
import training_jobs
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.losses import LabelSmoothLoss
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.schedule import Schedule

CONFIG = helpers.ROOT / "configs" / "vit-base-p16-224_bs16_cosine-10e_mindspore.json"
EPOCHS, KEPT, PICTURES = 4, 2, 21


def content() -> dict[str, Any]:
    read = json.loads(CONFIG.read_text())
    assert isinstance(read, dict)
    return read


def cosine_decay_lr(min_lr: float, max_lr: float, steps: int, step_per_epoch: int, decay_epoch: int) -> list[float]:
    """The rates of mindspore.nn.cosine_decay_lr, by its formula (mindspore 2.0.0): one for each epoch."""
    epochs = [min(step // step_per_epoch, decay_epoch) for step in range(steps)]
    return [min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * epoch / decay_epoch)) for epoch in epochs]


def cross_entropy_smooth(logits: np.ndarray, labels: np.ndarray, smooth_factor: float) -> float:
    """The loss of CrossEntropySmooth (mindvision 0.1.0), in float64."""
    classes = logits.shape[1]
    smoothed = np.where(np.eye(classes)[labels] == 1, 1 - smooth_factor, smooth_factor / (classes - 1))
    logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-(smoothed * logarithms).sum(axis=1).mean())


def test_cosine_decay_lr__is_mindspores() -> None:
    """The example of its documentation."""
    assert cosine_decay_lr(0.01, 0.1, 6, 2, 2) == pytest.approx([0.1, 0.1, 0.055, 0.055, 0.01, 0.01], rel=1e-12)


def test_recipe__is_the_tutorials() -> None:
    settings, recipe = read_recipe(content(), where=CONFIG.name)
    assert (recipe.epochs, recipe.batch_size, recipe.clip, recipe.mixing) == (10, 16, None, None)
    assert recipe.loss == LabelSmoothLoss(label_smooth_val=0.1, mode="mindspore")
    assert (recipe.optimizer.kind, recipe.optimizer.weight_decay) == ("Adam", 0.0)
    per_epoch = 125
    schedule = Schedule(recipe.schedule, (recipe.optimizer.lr,), iterations_per_epoch=per_epoch, epochs=10)
    rates = [schedule.learning_rates(iteration)[0] for iteration in range(10 * per_epoch)]
    assert rates == pytest.approx(cosine_decay_lr(0.0, 5e-5, 10 * per_epoch, per_epoch, 10), rel=1e-12)


def small() -> dict[str, Any]:
    """The recipe for a tiny network, all pictures in one batch, and without chance, so that its loss can be told."""
    changed = content()
    model = changed["model"]["mm_model"]
    arch = {"embed_dims": 32, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64}
    model["backbone"] |= {"arch": arch, "img_size": 32, "patch_size": 8}
    model["head"] |= {"num_classes": len(training_jobs.CLASSES), "in_channels": 32}
    steps = changed["preprocessor"]["val"]
    steps[1]["size"], steps[2]["crop_size"] = [36, -1], 32
    labels = [{"type": "ToTensor", "keys": ["gt_label"]}, {"type": "Collect", "keys": ["img", "gt_label"]}]
    changed["preprocessor"]["train"] = [*steps[:-1], *labels]
    changed["train"] |= {"max_epochs": EPOCHS, "precision": "fp32"}
    changed["train"]["dataloader"] = {"batch_size_per_gpu": PICTURES, "workers_per_gpu": 0}
    changed["train"]["checkpoint_config"]["max_keep_ckpts"] = KEPT
    changed["evaluation"] = {"dataloader": {"batch_size_per_gpu": 9, "workers_per_gpu": 0}, "metrics": ["accuracy"]}
    return changed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run."""
    folder = tmp_path_factory.mktemp("mindspore") / "run"
    finetune(training_jobs.make_job(folder, small(), num_train=PICTURES))
    return folder


def test_run__keeps_the_last_checkpoints_and_the_best(run: Path) -> None:
    kept = {path.name for path in run.glob("epoch_*.pth")}
    assert kept == {f"epoch_{epoch}.pth" for epoch in range(EPOCHS - KEPT + 1, EPOCHS + 1)}
    assert len(list(run.glob("best_accuracy_top-1_epoch_*.pth"))) == 1
    assert open_model(run / "output").class_names == training_jobs.CLASSES


def test_run__tells_the_loss_and_the_time_of_a_step_after_each_epoch(run: Path) -> None:
    lines = [json.loads(line) for line in next(run.glob("*.log.json")).read_text().splitlines()]
    steps = [line for line in lines if line.get("mode") == "train"]
    assert [step["epoch"] for step in steps] == list(range(1, EPOCHS + 1))
    assert [step["lr"] for step in steps] == pytest.approx(cosine_decay_lr(0.0, 5e-5, EPOCHS, 1, EPOCHS), rel=1e-5)
    assert all(step["time"] > 0 for step in steps)
    text = next(run.glob("*.log")).read_text()
    for epoch, step in enumerate(steps, start=1):
        (line,) = re.findall(rf"Epoch \[{epoch}\]\[1/1\]\t.*", text)
        assert f"loss: {step['loss']:.4f}" in line and f"time: {step['time']:.3f}" in line


def test_run__begins_with_the_loss_of_the_start_weights(run: Path) -> None:
    """Of all pictures at once, as the network without training has them, by the tutorial's formula."""
    settings, _ = read_recipe(small(), where=CONFIG.name)
    network = build_classifier(settings.model).eval()
    network.load_state_dict(torch.load(run.parent / "start.pth", weights_only=True)["state_dict"])
    rows = training_jobs.crops(PICTURES)
    transform = EvaluationTransform(settings.preprocessing)
    with torch.no_grad():
        logits = network(torch.stack([transform(row["image"]) for row in rows])).double().numpy()
    expected = cross_entropy_smooth(logits, np.array([row["label"] for row in rows]), 0.1)
    first, *_, last = (
        json.loads(line)["loss"]
        for line in next(run.glob("*.log.json")).read_text().splitlines()
        if '"mode": "train"' in line
    )
    assert first == pytest.approx(expected, rel=1e-5)
    assert last < first
