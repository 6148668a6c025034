"""The transforms of every recipe that mmcls ships, beside mmcls's own, from the file to the network's input.

Given the same random numbers the results are equal to the last bit.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import helpers
from draws_like_ours import drawing_like_ours
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.networks import evaluation_transform, training_transform
from modelscope_beit.settings.foreign_steps import ForeignSteps
from shipped_recipes import configuration, for_each_recipe, key_of, mm_recipe, read

pytestmark = pytest.mark.openmmlab

# (width, height), cut out of the photographs.
SIZES = [(640, 427), (333, 420), (224, 224), (500, 120), (48, 61)]
SEEDS = range(15)
LABEL = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures without loss: decoders of JPEG differ in the last bit."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for (width, height), photograph in zip(SIZES, itertools.cycle(helpers.photographs()), strict=False):
        paths.append(folder / f"{width}x{height}.png")
        photograph.crop((0, 0, width, height)).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def compared() -> set[str]:
    """The pipelines that were compared already; many recipes share one."""
    return set()


def by_mmcls(steps: list[dict], file: Path, rng: np.random.Generator) -> torch.Tensor:
    """Returns what mmcls makes of a file, label and all."""
    pipelines = pytest.importorskip("mmcls.datasets.pipelines", reason="mmcls is the oracle")
    results = {"img_prefix": None, "img_info": {"filename": str(file)}, "gt_label": np.array(LABEL)}
    if steps[0]["type"] != "LoadImageFromFile":
        # CIFAR's pictures are arrays. This is how ModelScope's stock pipeline would hand them over.
        results["img"] = np.array(Image.open(file))[:, :, ::-1].copy()
    compose = pipelines.Compose(steps)
    with drawing_like_ours(rng):
        collected = compose(results)
    assert "gt_label" not in steps[-1]["keys"] or collected["gt_label"] == LABEL
    return collected["img"]


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.dtype == torch.float32
    # One recipe ends in half precision, because a Graphcore IPU wants that.
    assert torch.equal(ours, theirs.float())


@for_each_recipe
def test_training_transform__is_mmclss(path: Path, files: list[Path], compared: set[str]) -> None:
    _, recipe = read(path)
    key = key_of(configuration(path)["data"]["train"])
    if key in compared:
        return
    transform = training_transform(recipe.training_steps)
    different = set()
    for seed in SEEDS:
        file = files[seed % len(files)]
        theirs = by_mmcls(train_pipeline(path), file, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        if isinstance(recipe.training_steps, ForeignSteps):
            # mmcls's own transforms, which draw from seeds of the generator that they are given.
            seeds = np.random.default_rng(0)
            with drawing_like_ours(rng):
                ours = transform(read_image(file), seeds)
        else:
            ours = transform(read_image(file), rng)
        assert_equal(ours, theirs)
        different.add(ours.sum().item())
    # Chance had its part.
    assert len(different) == len(SEEDS)
    compared.add(key)


@for_each_recipe
def test_evaluation_transform__is_mmclss(path: Path, files: list[Path], compared: set[str]) -> None:
    settings, _ = read(path)
    key = key_of(configuration(path)["data"]["test"]["pipeline"])
    if key in compared:
        return
    transform = evaluation_transform(settings.preprocessing)
    for file in files:
        theirs = by_mmcls(mm_recipe(path)["data"]["test"]["pipeline"], file, np.random.default_rng(0))
        assert_equal(transform(read_image(file)), theirs)
    compared.add(key)


@for_each_recipe
def test_validation__has_the_transform_of_the_test(path: Path) -> None:
    """preprocessor.val is mmcls's data.test.pipeline; that of data.val would be no other."""
    data = configuration(path)["data"]
    assert data["val"]["pipeline"] == data["test"]["pipeline"]


def train_pipeline(path: Path) -> list[dict]:
    train = mm_recipe(path)["data"]["train"]
    while "dataset" in train:
        train = train["dataset"]
    return train["pipeline"]
