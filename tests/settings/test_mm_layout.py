"""mmcls's layout and the hub's say the same; whole recipes of mmcls are in whole/test_shipped_recipes.py."""

from typing import Any

import pytest

from modelscope_beit.settings.mm_layout import hub_layout

STEPS = [{"type": "Resize", "size": (256, -1)}]
TEST_STEPS = [{"type": "CenterCrop", "crop_size": 224}]


def hub(**mm: Any) -> Any:
    return hub_layout({"model": {"type": "ImageClassifier"}, **mm})


def test_hub_layout__every_section_finds_its_place() -> None:
    mm = {
        "data": {
            "samples_per_gpu": 64,
            "workers_per_gpu": 3,
            "train": {"type": "ImageNet", "pipeline": STEPS, "classes": ["cat", "dog"]},
            "val": {"pipeline": STEPS},
            "test": {"pipeline": TEST_STEPS},
            "test_dataloader": {"samples_per_gpu": 4},
        },
        "optimizer": {"type": "SGD", "lr": 0.1},
        "optimizer_config": {"grad_clip": None},
        "lr_config": {"policy": "step", "step": [1]},
        "runner": {"type": "EpochBasedRunner", "max_epochs": 7},
        "evaluation": {"interval": 2, "metric": "accuracy", "metric_options": {"topk": (1,)}},
        "fp16": {"loss_scale": 512.0},
        "load_from": "somewhere.pth",
        "dataset_type": "ImageNet",
    }
    assert hub(**mm) == {
        "model": {"type": "ClassificationModel", "mm_model": {"type": "ImageClassifier"}},
        "dataset": {"classes": ["cat", "dog"]},
        "preprocessor": {"train": [{"type": "Resize", "size": [256, -1]}], "val": TEST_STEPS},
        "train": {
            "max_epochs": 7,
            "dataloader": {"batch_size_per_gpu": 64, "workers_per_gpu": 3},
            "optimizer": {"type": "SGD", "lr": 0.1},
            "optimizer_config": {"grad_clip": None},
            "lr_config": {"policy": "step", "step": [1]},
            "evaluation": {"interval": 2, "metric": "accuracy", "metric_options": {"topk": [1]}},
        },
        "evaluation": {
            "metrics": "accuracy",
            "metric_options": {"topk": [1]},
            "dataloader": {"batch_size_per_gpu": 4, "workers_per_gpu": 3},
        },
        "fp16": {"loss_scale": 512.0},
    }


def test_hub_layout__a_model_alone() -> None:
    assert hub(data=None) == {
        "model": {"type": "ClassificationModel", "mm_model": {"type": "ImageClassifier"}},
        "preprocessor": {},
    }


@pytest.mark.parametrize(
    "train",
    [
        {"type": "RepeatDataset", "times": 3, "dataset": {"pipeline": STEPS}},
        {"type": "ClassBalancedDataset", "dataset": {"type": "RepeatDataset", "dataset": {"pipeline": STEPS}}},
        [{"pipeline": STEPS}, {"pipeline": TEST_STEPS}],
        {"type": "ConcatDataset", "datasets": [{"pipeline": STEPS}, {"pipeline": TEST_STEPS}]},
        {"type": "KFoldDataset", "dataset": {"pipeline": STEPS}, "fold": 1},
    ],
)
def test_hub_layout__data_sets_within_others(train: Any) -> None:
    assert hub(data={"train": train})["preprocessor"] == {"train": [{"type": "Resize", "size": [256, -1]}]}


def test_hub_layout__lengths() -> None:
    assert hub(total_epochs=5, optimizer={})["train"] == {"max_epochs": 5, "optimizer": {}}
    by_iteration = {"type": "IterBasedRunner", "max_iters": 900}
    assert hub(runner=by_iteration)["train"] == {"runner": by_iteration}
    special = {"type": "EpochBasedRunner", "max_epochs": 5, "meta": {}}
    assert hub(runner=special)["train"] == {"max_epochs": 5, "runner": {"type": "EpochBasedRunner", "meta": {}}}


def test_hub_layout__changes_nothing() -> None:
    mm = {"model": {}, "runner": {"max_epochs": 5}, "data": {"test": {"pipeline": STEPS}}}
    hub_layout(mm)
    assert mm == {"model": {}, "runner": {"max_epochs": 5}, "data": {"test": {"pipeline": STEPS}}}
