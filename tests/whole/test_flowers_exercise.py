"""The exercise of the courses: a ViT of the hub, fine-tuned to the 14 flowers, its script run as it is.

The folder has the hub's layout (weights named as in mmcls), the data set ModelScope's (tables of files, a folder for
each class). Flowers are drawn: as many petals as the class's number asks for, in its colour.
"""

import ast
import colorsys
import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelscope.pipelines import pipeline
from PIL import Image, ImageDraw

import helpers
from modelscope_beit.checkpoints.convert import from_native
from modelscope_beit.checkpoints.key_tables import MMCLS_VIT
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.mm_model import read_mm_model

FLOWERS = (
    *("carnation", "iris", "bellflower", "california poppy", "rose", "astilbe", "tulip"),
    *("calendula", "dandelion", "coreopsis", "black-eyed susan", "water lily", "sunflower", "common daisy"),
)

SCRIPT = """
import os
from modelscope.metainfo import Trainers
from modelscope.msdatasets import MsDataset
from modelscope.trainers import build_trainer

model_id = 'MODEL'

train_dataset = MsDataset.load('DATA', namespace='tany0699', subset_name='default', split='train')
eval_dataset = MsDataset.load('DATA', namespace='tany0699', subset_name='default', split='validation')

def cfg_modify_fn(cfg):
    cfg.train.dataloader.batch_size_per_gpu = 16
    cfg.train.dataloader.workers_per_gpu = 0
    cfg.train.max_epochs = 1
    cfg.model.mm_model.head.num_classes = 14
    cfg.model.mm_model.train_cfg.augments[0].num_classes = 14
    cfg.model.mm_model.train_cfg.augments[1].num_classes = 14
    cfg.train.optimizer.lr = 1e-3
    cfg.train.lr_config.warmup_iters = 1
    cfg.train.evaluation.metric_options = {'topk': (1, 5)}
    cfg.evaluation.metric_options = {'topk': (1, 5)}
    return cfg

kwargs = dict(
    model=model_id,
    work_dir=os.environ['WORK_DIR'],
    train_dataset=train_dataset,
    eval_dataset=eval_dataset,
    cfg_modify_fn=cfg_modify_fn)

trainer = build_trainer(name=Trainers.image_classification, default_args=kwargs)
trainer.train()
print('result:', trainer.evaluate())
"""

_NORMALIZE = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}


def vit_configuration(backbone: str, head: dict[str, Any]) -> dict[str, Any]:
    """Returns a ViT of the hub in small: its keys, its DeiT recipe, 1000 classes."""
    arch = {"embed_dims": 48, "num_layers": 2, "num_heads": 3, "feedforward_channels": 96}
    mixing = [{"type": "BatchMixup", "alpha": 0.8, "prob": 0.5}, {"type": "BatchCutMix", "alpha": 1.0, "prob": 0.5}]
    loss = {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "classy_vision"}
    loaded = [{"type": "ImageToTensor", "keys": ["img"]}, {"type": "Collect", "keys": ["img"]}]
    return helpers.TINY_CONFIGURATION | {
        "model": {
            "type": "ClassificationModel",
            "mm_model": {
                "type": "ImageClassifier",
                "backbone": {"type": backbone, "arch": arch, "img_size": 32, "patch_size": 8, "drop_path_rate": 0.1},
                "neck": None,
                "head": {"num_classes": 1000, "in_channels": 48, "loss": loss, "topk": [1, 5]} | head,
                "train_cfg": {"augments": [{**augment, "num_classes": 1000} for augment in mixing]},
            },
        },
        "preprocessor": {
            "type": "image-classification-bypass-preprocessor",
            "train": [
                {"type": "LoadImageFromFile"},
                {"type": "RandomResizedCrop", "size": 32, "backend": "pillow", "interpolation": "bicubic"},
                {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"},
                {"type": "RandomErasing", "erase_prob": 0.25, "mode": "rand", "max_area_ratio": 1 / 3},
                _NORMALIZE,
                loaded[0],
                {"type": "ToTensor", "keys": ["gt_label"]},
                {"type": "Collect", "keys": ["img", "gt_label"]},
            ],
            "val": [
                {"type": "LoadImageFromFile"},
                {"type": "Resize", "size": [36, -1], "backend": "pillow", "interpolation": "bicubic"},
                {"type": "CenterCrop", "crop_size": 32},
                _NORMALIZE,
                *loaded,
            ],
        },
        "train": {
            "max_epochs": 300,
            "workflow": [["train", 1]],
            "dataloader": {"batch_size_per_gpu": 128, "workers_per_gpu": 4},
            "optimizer": {"type": "AdamW", "lr": 5e-4, "weight_decay": 0.1, "paramwise_cfg": {"norm_decay_mult": 0.0}},
            "optimizer_config": {"grad_clip": None},
            "lr_config": {"policy": "CosineAnnealing", "min_lr_ratio": 0.01, "warmup": "linear", "warmup_iters": 5},
            "checkpoint_config": {"interval": 1},
            "log_config": {"interval": 5, "hooks": [{"type": "TextLoggerHook"}]},
            "evaluation": {"interval": 1, "metric": "accuracy", "save_best": "auto"},
        },
        "evaluation": {"dataloader": {"batch_size_per_gpu": 16, "workers_per_gpu": 0}, "metrics": ["accuracy"]},
    }


def write_hub_folder(folder: Path, configuration: dict[str, Any]) -> None:
    """Writes configuration.json and a checkpoint of a network with random weights, under mmcls's names."""
    folder.mkdir()
    (folder / "configuration.json").write_text(json.dumps(configuration))
    torch.manual_seed(0)
    network = helpers.with_random_weights(build_classifier(read_mm_model(configuration["model"]["mm_model"])))
    meta = {"CLASSES": [f"class {number}" for number in range(1000)]}
    weights = from_native(network.state_dict(), MMCLS_VIT)
    torch.save({"state_dict": weights, "meta": meta}, folder / "pytorch_model.pt")


def draw_flower(number: int, rng: np.random.Generator) -> Image.Image:
    """Returns a flower of class `number`: its petals and its colour, turned and moved a little."""
    picture = Image.new("RGB", (64, 64), tuple(int(value) for value in rng.integers(60, 110, 3)))
    draw = ImageDraw.Draw(picture)
    red, green, blue = (int(255 * value) for value in colorsys.hsv_to_rgb(number / len(FLOWERS), 0.9, 0.95))
    middle_x, middle_y, turn = 32 + rng.uniform(-5, 5), 32 + rng.uniform(-5, 5), rng.uniform(0, math.pi)
    for petal in range(number + 3):
        angle = turn + 2 * math.pi * petal / (number + 3)
        x, y = middle_x + 16 * math.cos(angle), middle_y + 16 * math.sin(angle)
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=(red, green, blue))
    return picture


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the tables; the pictures lie where ModelScope unpacks them, in one folder for each class."""
    root = tmp_path_factory.mktemp("data")
    (root / "flowers14").mkdir()
    rng = np.random.default_rng(0)
    for split, number in (("train", 8), ("validation", 2)):
        top = root / "extracted" / "0123abcd" / split
        with (root / "flowers14" / f"{split}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image:FILE", "category"])
            for category, flower in enumerate(FLOWERS):
                (top / flower).mkdir(parents=True)
                for index in range(number):
                    draw_flower(category, rng).save(top / flower / f"{index}.jpg")
                    writer.writerow([top / flower / f"{index}.jpg", category])
        (top / "classname.txt").write_text("\n".join(FLOWERS) + "\n")
    return root / "flowers14"


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("VisionTransformer", {"type": "VisionTransformerClsHead"}),
        ("DistilledVisionTransformer", {"type": "DeiTClsHead", "hidden_dim": 40}),
    ],
    ids=["ViT", "distilled DeiT with a hidden layer"],
)
def test_exercise__vit_to_14_flowers(tmp_path: Path, flowers: Path, backbone: str, head: dict[str, Any]) -> None:
    write_hub_folder(tmp_path / "vit", vit_configuration(backbone, head))
    (tmp_path / "script.py").write_text(SCRIPT.replace("MODEL", str(tmp_path / "vit")).replace("DATA", str(flowers)))
    work_dir = tmp_path / "work_dir"
    environment = os.environ | {
        "PYTHONPATH": str(helpers.ROOT),
        "WORK_DIR": str(work_dir),
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
        "MODELSCOPE_CACHE": str(tmp_path / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "modelscope_beit", "run", str(tmp_path / "script.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]

    written = json.loads((work_dir / "output" / "configuration.json").read_text())["model"]["mm_model"]
    assert [augment["num_classes"] for augment in written["train_cfg"]["augments"]] == [14, 14]
    assert written["head"]["num_classes"] == 14 and written["backbone"]["type"] == backbone
    before = torch.load(tmp_path / "vit" / "pytorch_model.pt", weights_only=True)["state_dict"]
    after = torch.load(work_dir / "output" / "pytorch_model.pt", weights_only=True)["state_dict"]
    assert after.keys() == before.keys(), "the names of mmcls"
    kept = {key for key in before if after[key].shape == before[key].shape}
    assert before.keys() - kept == {key for key in before if key.startswith("head.layers.head")}
    assert not any(torch.equal(after[key], before[key]) for key in kept), "everything is trained"

    classify = pipeline("image-classification", model=str(work_dir / "output"), device="cpu")
    with (flowers / "validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    answers = [classify(row["image:FILE"]) for row in rows]
    names = [FLOWERS[int(row["category"])] for row in rows]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("result: {")]
    result = ast.literal_eval(line.removeprefix("result: "))
    for count in (1, 5):
        right = [name in answer["labels"][:count] for name, answer in zip(names, answers, strict=True)]
        assert result[f"accuracy_top-{count}"] == pytest.approx(100 * sum(right) / len(right), abs=1e-9)
