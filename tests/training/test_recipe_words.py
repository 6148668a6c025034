"""Recipes in words: whatever a recipe of the hub or of mmcls says, and nothing that it does not."""

import copy
from dataclasses import dataclass, field, replace

import pytest

import helpers
from modelscope_beit.settings.recipe import Recipe, read_recipe
from modelscope_beit.training.recipe_words import in_words, recipe_in_words

TRAIN = {
    "max_epochs": 7,
    "dataloader": {"batch_size_per_gpu": 16, "workers_per_gpu": 0},
    "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
    "optimizer_config": {
        "grad_clip": {"max_norm": 5.0},
        "cumulative_iters": 4,
        "type": "GradientCumulativeOptimizerHook",
    },
    "lr_config": {"policy": "step", "step": [3, 5], "gamma": 0.2},
    "custom_hooks": [{"type": "EMAHook", "momentum": 0.001}],
}


def recipe(**train) -> Recipe:
    configuration = copy.deepcopy(helpers.TINY_CONFIGURATION)
    configuration["train"] = {**TRAIN, **train}
    configuration["model"]["mm_model"]["train_cfg"] = {
        "augments": [{"type": "BatchMixup", "alpha": 0.8, "num_classes": 5, "prob": 1.0}]
    }
    return read_recipe(configuration, where="test")[1]


def test_recipe_in_words__tells_what_was_set():
    words = recipe_in_words(recipe(), precision="bf16", num_processes=2)
    assert words["Length"] == "7 epochs"
    assert words["Batch"] == "128 = 16 x 2 processes x 4 accumulated"
    assert words["Optimizer"] == "SGD lr 0.01, weight_decay 0.0001, momentum 0.9"
    assert "0.2" in words["Schedule"] and "(3, 5)" in words["Schedule"]
    assert "5" in words["Gradient clipping"]
    assert "0.8" in words["Mixing"]
    assert "0.001" in words["Averaged weights"]
    assert (words["Precision"], words["Seed"]) == ("bf16", "0")
    assert words["Augmentation"].startswith("RandomResizedCrop size 32") and "Collect" not in words["Augmentation"]


def test_recipe_in_words__leaves_out_what_there_is_not():
    plain = replace(recipe(custom_hooks=None, optimizer_config={}), mixing=None, deterministic=True)
    words = recipe_in_words(plain, precision="fp32", num_processes=1)
    assert not {"Mixing", "Averaged weights", "Gradient clipping", "Momentum"} & words.keys()
    assert (words["Batch"], words["Seed"]) == ("16", "0, deterministic")


def test_recipe_in_words__by_iteration():
    counted = recipe(max_epochs=None, runner={"type": "IterBasedRunner", "max_iters": 500})
    assert recipe_in_words(counted, precision="fp32", num_processes=1)["Length"] == "500 iterations"


@dataclass(frozen=True)
class PartSettings:
    size: int
    rate: float = 0.5


@dataclass(frozen=True)
class WholeThing:
    name: str = "a"
    part: PartSettings | None = None
    parts: tuple[PartSettings, ...] = ()
    numbers: list[float] = field(default_factory=list)
    options: dict[str, object] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "heading", "words"),
    [
        (None, "", ""),
        (WholeThing(), "", "WholeThing"),
        (WholeThing("b", PartSettings(3)), "", "WholeThing name b, part (size 3)"),
        (WholeThing("b", PartSettings(3, 1e-7)), "whole_thing", "name b, part (size 3, rate 1e-07)"),
        (WholeThing(parts=(PartSettings(1), PartSettings(2))), "", "WholeThing parts (Part size 1; Part size 2)"),
        (WholeThing(parts=(PartSettings(1),) * 15), "", "WholeThing parts 15"),
        (
            WholeThing(numbers=[0.1 + 0.2, 1.0], options={"x": None, "y": True}),
            "",
            "WholeThing numbers (0.3, 1), options (y True)",
        ),
    ],
)
def test_in_words(value, heading, words):
    assert in_words(value, heading) == words
