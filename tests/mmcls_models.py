"""Networks of mmcls, small, and model folders around them that mmcls itself has written the weights of."""

import copy
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import helpers
import training_jobs
from modelscope_beit.checkpoints.files import write_weights
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.records import Records
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training.job import TrainingJob

CLASSES = training_jobs.CLASSES
SIDE = 64
STEPS: list[dict[str, Any]] = [
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "size": [SIDE, SIDE]},
    {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True},
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"]},
]
_POOLING = {"type": "GlobalAveragePooling"}
_WINDOWS: dict[str, Any] = {
    "arch": {"embed_dims": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "img_size": SIDE,
}
_TOKENS = {
    "arch": {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32},
    **{"img_size": SIDE, "patch_size": 16, "final_norm": False},
}
_TRUNK = {"type": "ResNet", "depth": 18, "num_stages": 1, "strides": [1], "dilations": [1], "out_indices": [0]}
_TRUNK |= {"base_channels": 8, "stem_channels": 8}


def mm_model(
    backbone: dict[str, Any], width: int | list[int], head: dict[str, Any] | None = None, neck: Any = _POOLING
) -> dict[str, Any]:
    """Returns a whole mm_model with a linear head, or with another one, over features of that width."""
    linear = {"type": "LinearClsHead", "in_channels": width, "num_classes": len(CLASSES)}
    return {"type": "ImageClassifier", "backbone": backbone, "neck": neck, "head": linear | (head or {})}


def with_head(head: dict[str, Any], neck: Any = _POOLING) -> dict[str, Any]:
    """Returns a very small convolutional network, with batch norm, under a head of mmcls."""
    return mm_model(dict(_TRUNK), 8, head, neck)


SWIN = mm_model({"type": "SwinTransformer", **_WINDOWS, "pad_small_map": True, "drop_path_rate": 0.1}, 64)
CONVNEXT = mm_model(
    {"type": "ConvNeXt", "arch": {"depths": [1, 1, 1, 1], "channels": [8, 8, 8, 16]}, "drop_path_rate": 0.1},
    16,
    neck=None,
)
RESNET = mm_model({"type": "ResNet", "depth": 18, "base_channels": 4, "stem_channels": 4}, 32)
_MULTI_LABEL = {"type": "MultiLabelLinearClsHead"}

NETWORKS: dict[str, dict[str, Any]] = {
    "Swin": SWIN,
    "SwinV2": mm_model(
        {
            "type": "SwinTransformerV2",
            "arch": {**_WINDOWS["arch"], "extra_norm_every_n_blocks": 0},
            "img_size": SIDE,
            "window_size": [8, 8, 4, 2],
        },
        64,
    ),
    "ConvNeXt": CONVNEXT,
    "ResNet": RESNET,
    "GeneralizedMeanPooling": with_head({}, {"type": "GeneralizedMeanPooling"}),
    "StackedLinearClsHead": with_head(
        {"type": "StackedLinearClsHead", "mid_channels": [6, 4], "dropout_rate": 0.2, "norm_cfg": {"type": "BN1d"}}
    ),
    "VisionTransformerClsHead": mm_model(
        {"type": "VisionTransformer", **_TOKENS}, 16, {"type": "VisionTransformerClsHead", "hidden_dim": 8}, None
    ),
    "DeiTClsHead": mm_model({"type": "DistilledVisionTransformer", **_TOKENS}, 16, {"type": "DeiTClsHead"}, None),
    "ConformerHead": mm_model(
        {
            "type": "Conformer",
            "arch": {"embed_dims": 12, "channel_ratio": 1, "depths": 12, "num_heads": 1},
            "base_channels": 4,
        },
        [16, 12],
        {"type": "ConformerHead"},
        None,
    ),
    "EfficientFormerClsHead": with_head({"type": "EfficientFormerClsHead", "distillation": False}),
    "MultiLabelLinearClsHead": with_head(_MULTI_LABEL),
    "CSRAClsHead": with_head({"type": "CSRAClsHead", "num_heads": 2, "lam": 0.1}, None),
}


def configuration(network: dict[str, Any], steps: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Returns the configuration.json of a network."""
    return {
        "framework": "pytorch",
        "task": "image-classification",
        "pipeline": {"type": "common-image-classification"},
        "model": {"type": "ClassificationModel", "mm_model": copy.deepcopy(network)},
        "dataset": {"classes": None},
        "preprocessor": {"type": "image-classification-mmcv-preprocessor", "val": copy.deepcopy(steps or STEPS)},
    }


def build(network: dict[str, Any], seed: int = 0) -> Any:
    """Returns mmcls's own classifier, no weight at its neutral value, in eval mode."""
    from mmcls.models import build_classifier

    config = copy.deepcopy(network)
    if "topk" in config["head"]:
        config["head"]["topk"] = tuple(config["head"]["topk"])
    torch.manual_seed(seed)
    classifier = helpers.with_random_weights(build_classifier(config), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, statistic in classifier.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            statistic.copy_(torch.rand(statistic.shape, generator=generator) * 0.2 + statistic)
    return classifier.eval()


def write_folder(
    folder: Path, network: dict[str, Any], steps: list[dict[str, Any]] | None = None, classes: Any = CLASSES
) -> Any:
    """Writes a model folder by hand and returns mmcls's classifier with the weights in it."""
    classifier = build(network)
    folder.mkdir(parents=True)
    (folder / "configuration.json").write_text(json.dumps(configuration(network, steps), indent=2))
    weights = {"state_dict": classifier.state_dict(), "meta": {"CLASSES": list(classes)}}
    torch.save(weights, folder / "pytorch_model.pt")
    return classifier


SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def make_job(
    work_dir: Path, network: dict[str, Any], changes: Mapping[str, Any] | None = None, *, num_train: int = 12
) -> TrainingJob:
    """Returns a job that trains a network of mmcls, four pictures a batch, without augmentation.

    Start weights are beside work_dir, mmcls's own. changes: keys of `train` to set otherwise.
    """
    content = configuration(network)
    plain_recipe = {**training_jobs.configuration()["train"], "lr_config": {"policy": "fixed"}, "optimizer": SGD}
    content["train"] = {**plain_recipe, "max_epochs": 1, **(changes or {})}
    content["preprocessor"]["train"] = [*STEPS[:-1], {"type": "Collect", "keys": ["img", "gt_label"]}]
    settings, recipe = read_recipe(content, where="the test's configuration")
    weights = work_dir.parent / "start.pth"
    if not weights.exists():
        write_weights(weights, build(network).state_dict(), {"CLASSES": list(CLASSES)})
    train, validation = (
        records_of(training_jobs.crops(number, seed=seed), class_names=CLASSES)
        for number, seed in ((num_train, 0), (6, 1))
    )
    assert isinstance(validation, Records), "a list is no stream"
    return TrainingJob(
        settings=dataclasses.replace(settings, class_names=CLASSES),
        recipe=recipe,
        start_weights=weights,
        configuration=content,
        train=train,
        validation=validation,
        work_dir=work_dir,
        timestamp="20260101_000000",
        source="a small network of mmcls",
        data="crops of two photographs",
        command="beit train small crops",
    )
