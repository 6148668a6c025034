"""Steps that mmcls makes for us; mmcls's own Compose is the oracle."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmcls.datasets", reason="the steps come with the extra openmmlab")

from mmcls.datasets import PIPELINES
from mmcls.datasets.pipelines import Compose

import training_jobs
from modelscope_beit.data.batches import training_batches
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.openmmlab.transforms import MmclsTransform
from modelscope_beit.settings.foreign_steps import ForeignSteps

pytestmark = pytest.mark.openmmlab
NORMALIZE = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
END = [NORMALIZE, {"type": "ImageToTensor", "keys": ["img"]}, {"type": "Collect", "keys": ["img"]}]
LOAD = {"type": "LoadImageFromFile"}


@PIPELINES.register_module()
class AddNoise:
    """A user's own step; it draws from all three generators."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        noise = random.gauss(0, 5) + np.random.normal(0, 5, results["img"].shape) + torch.randn(1).item()
        results["img"] = (results["img"] + noise).astype(np.float32)
        return results


@PIPELINES.register_module()
class HasChanceOfItsOwn:
    """As mmcls's Albu is with a new albumentations: what draws has a generator of its own."""

    class Augmentation:
        def __init__(self) -> None:
            self.rng = np.random.default_rng()

        def set_random_seed(self, seed: int) -> None:
            self.rng = np.random.default_rng(seed)

    def __init__(self) -> None:
        self.aug = self.Augmentation()

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        results["img"] = results["img"] * np.float32(self.aug.rng.random())
        return results


def transform(*steps: dict[str, Any]) -> MmclsTransform:
    return MmclsTransform(ForeignSteps(steps, ("(reason)",)))


EVALUATION: list[list[dict[str, Any]]] = [
    [LOAD, {"type": "Resize", "size": [40, -1]}, {"type": "ToPIL"}, {"type": "ToNumpy"}, *END],
    [{"type": "LoadImageFromFile", "to_float32": True}, {"type": "CenterCrop", "crop_size": 32}, *END],
    [{"type": "Compose", "transforms": [{"type": "Resize", "size": [32, 48], "interpolation": "bicubic"}]}, *END],
    [
        {"type": "Pad", "size": [100, 90], "pad_val": 7},
        NORMALIZE,
        {"type": "Transpose", "keys": ["img"], "order": [2, 0, 1]},
        {"type": "ToTensor", "keys": ["img"]},
    ],
]


@pytest.mark.parametrize("steps", EVALUATION, ids=lambda steps: "-".join(step["type"] for step in steps[:4]))
def test_pixels__are_those_of_mmcls(steps: list[dict[str, Any]]) -> None:
    picture = training_jobs.crops(2)[1]["image"]
    array = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
    theirs = copy.deepcopy([step for step in steps if step["type"] != "LoadImageFromFile"])
    for step in (theirs[0], *theirs[0].get("transforms", [])):
        if isinstance(step.get("size"), list):
            step["size"] = tuple(step["size"])
    is_float = steps[0].get("to_float32", False)
    expected = Compose(theirs)({"img": array.astype(np.float32) if is_float else array, "img_shape": array.shape})
    pixels = transform(*steps)(picture)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, expected["img"].float())


AUGMENTATION = [
    LOAD,
    {"type": "RandomResizedCrop", "size": 24},
    {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"},
    {"type": "AddNoise"},
    {"type": "HasChanceOfItsOwn"},
    *END[:-1],
    {"type": "Collect", "keys": ["img", "gt_label"]},
]


def test_augmentation__is_the_same_for_any_number_of_threads() -> None:
    records = records_of(training_jobs.crops(24), class_names=training_jobs.CLASSES)

    def epoch(number: int, workers: int) -> torch.Tensor:
        batches = training_batches(
            records,
            transform(*AUGMENTATION),
            **{"seed": 0, "epoch": number, "batch_size": 4, "workers": workers, "rank": 0, "world_size": 1},
        )
        torch.rand(workers + 1), random.random(), np.random.rand()
        return torch.cat([batch.images for batch in batches])

    alone = epoch(0, 0)
    assert torch.equal(alone, epoch(0, 1))
    assert torch.equal(alone, epoch(0, 4))
    assert not torch.equal(alone, epoch(1, 4))


def test_transform__what_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"KeyError|'Rotato is not in the pipeline registry'\n- \(reason\)"):
        transform({"type": "Rotato"})
    with pytest.raises(SettingsError, match="color_type is 'grayscale', but only 'color' can be used"):
        transform({"type": "LoadImageFromFile", "color_type": "grayscale"}, *END)
    monkeypatch.setattr("mmcls.datasets.pipelines.transforms.albumentations", None)
    with pytest.raises(SettingsError, match=r"(?s)albumentations is not installed.*pip install albumentations"):
        transform({"type": "Albu", "transforms": []}, *END)


def test_transform__what_fails_on_a_picture() -> None:
    picture = Image.new("RGB", (20, 30))
    with pytest.raises(ImageError, match=r"A step of mmcls failed on the picture: KeyError: 'mask'"):
        transform({"type": "ImageToTensor", "keys": ["mask"]})(picture)
    with pytest.raises(ImageError, match=r"but it is ndarray\[30, 20, 3\]; end them with"):
        transform(NORMALIZE)(picture)


def test_albu__with_the_real_albumentations() -> None:
    pytest.importorskip("albumentations", reason="mmcls's Albu needs it, and nothing else here")
    made = transform({"type": "Albu", "transforms": [{"type": "RandomBrightnessContrast", "p": 1.0}]}, *END)
    picture = training_jobs.crops(1)[0]["image"]
    first, again, other = (made(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
