"""What every recipe that mmcls ships makes of a batch and its labels, to the loss, beside mmcls's own classifier.

Given the same random numbers, mixed pictures and labels are equal to the last bit, and losses within 2e-6 of their
value.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from draws_like_ours import drawing_like_ours
from modelscope_beit.images.mixing import mix
from modelscope_beit.model_folder.networks import build_network
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.mixing import MixingSettings
from modelscope_beit.training.losses import build_loss
from shipped_recipes import configuration, for_each_recipe, key_of, mm_recipe, read

pytestmark = pytest.mark.openmmlab

N, SIDE = 6, 8
SEEDS = range(6)


@pytest.fixture(scope="module", autouse=True)
def stand_in() -> Iterator[None]:
    """A backbone of mmcls whose features are the pictures."""
    builder = pytest.importorskip("mmcls.models.builder", reason="mmcls is the oracle")

    class Pictures(torch.nn.Module):
        def __init__(self, is_pooled: bool) -> None:
            super().__init__()
            self.is_pooled = is_pooled

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (images.mean((2, 3)) if self.is_pooled else images,)

    builder.BACKBONES.register_module(name="Pictures", module=Pictures)
    yield
    builder.BACKBONES.module_dict.pop("Pictures")


@pytest.fixture(scope="module")
def compared() -> set[str]:
    """The heads and mixings that were compared already; many recipes share them."""
    return set()


@for_each_recipe
def test_loss__is_mmclss(path: Path, compared: set[str]) -> None:
    model = configuration(path)["model"]
    key = key_of([model.get(name) for name in ("neck", "head", "train_cfg")])
    if key in compared:
        return
    compare = compare_network if isinstance(read(path)[0].model, MmclsModelSettings) else compare_loss
    for seed in SEEDS:
        compare(path, seed)
    compared.add(key)


def compare_network(path: Path, seed: int) -> None:
    """Compares networks of mmcls: ours computes the losses by mmcls's head, but mixes, and averages, itself."""
    builder = pytest.importorskip("mmcls.models.builder", reason="mmcls is the oracle")
    settings, recipe = read(path)
    backbone = {"type": "Pictures", "is_pooled": configuration(path)["model"].get("neck") is None}
    assert recipe.loss is None
    mm_model = settings.model.mm_model | {"backbone": backbone}
    ours = build_network(dataclasses.replace(settings.model, mm_model=mm_model)).train()
    theirs = builder.build_classifier({**mm_recipe(path)["model"], "backbone": backbone, "pretrained": None})
    theirs.load_state_dict(ours.state_dict())
    images, labels = batch_of(mm_model["head"]["in_channels"], settings.model.num_classes, seed)
    with drawing_like_ours(np.random.default_rng(seed)):
        expected = theirs.forward_train(images.clone(), labels)["loss"]
    images, targets = mixed(recipe.mixing, images, labels, settings.model.num_classes, seed)
    losses = ours(images, targets)
    assert losses.shape == (N,)
    torch.testing.assert_close(losses.mean(), expected, rtol=2e-6, atol=0)


def compare_loss(path: Path, seed: int) -> None:
    """Compares native networks: mixing and loss are both ours."""
    builder = pytest.importorskip("mmcls.models.builder", reason="mmcls is the oracle")
    augment = pytest.importorskip("mmcls.models.utils.augment", reason="mmcls is the oracle")
    settings, recipe = read(path)
    model = mm_recipe(path)["model"]
    num_classes = settings.model.num_classes
    images, labels = batch_of(3, num_classes, seed)
    ours, targets = mixed(recipe.mixing, images, labels, num_classes, seed)
    expected = images.clone(), labels
    if model.get("train_cfg"):
        with drawing_like_ours(np.random.default_rng(seed)):
            expected = augment.Augments(model["train_cfg"]["augments"])(*expected)
    assert torch.equal(ours, expected[0])
    assert torch.equal(targets, expected[1])
    logits = 3 * torch.randn(N, num_classes, generator=torch.Generator().manual_seed(seed))
    losses = build_loss(recipe.loss, num_classes)(logits, targets)
    theirs = builder.build_head(model["head"]).loss(logits, expected[1])["loss"]
    torch.testing.assert_close(losses.mean(), theirs, rtol=2e-6, atol=0)


def batch_of(channels: int, num_classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(N, channels, SIDE, SIDE, generator=generator)
    return images, torch.randint(num_classes, (N,), generator=generator)


def mixed(
    settings: MixingSettings | None, images: torch.Tensor, labels: torch.Tensor, num_classes: int, seed: int
) -> tuple[Any, Any]:
    """Returns what training makes of a batch: class numbers, or shares of classes where samples may be mixed."""
    if settings is None:
        return images, labels
    return mix(images, F.one_hot(labels, num_classes).float(), settings, np.random.default_rng(seed))
