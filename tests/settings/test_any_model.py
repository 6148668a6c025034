"""Who builds a network, and what is kept of what was said about it."""

import copy
from typing import Any

import pytest

import helpers
from modelscope_beit.settings.any_model import collect_any_model, part_for_training, write_any_model
from modelscope_beit.settings.foreign_models import MmclsModelSettings, TimmModelSettings
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.problems import Problems

NATIVE = helpers.TINY_CONFIGURATION["model"]["mm_model"]
POOLING = {"type": "GlobalAveragePooling"}
LINEAR = {"type": "LinearClsHead", "num_classes": 3, "in_channels": 8}
RESNET = {"type": "ImageClassifier", "backbone": {"type": "ResNet", "depth": 18}, "neck": POOLING, "head": LINEAR}
TIMM = {"type": "TIMMBackbone", "model_name": "resnetv2_50x1_bit"}
VGG = {"backbone": {"type": "VGG", "depth": 11, "num_classes": 1000}, "head": {"type": "ClsHead", "topk": [1, 5]}}


def collect(mm_model: dict[str, Any]) -> tuple[Any, Problems]:
    problems = Problems()
    return collect_any_model(mm_model, "model.mm_model", problems), problems


@pytest.mark.parametrize(
    ("mm_model", "kind"),
    [
        (NATIVE, ModelSettings),
        (NATIVE | {"backbone": NATIVE["backbone"] | {"type": "BeitBackbone"}}, ModelSettings),
        (RESNET, MmclsModelSettings),
        (NATIVE | {"neck": POOLING}, MmclsModelSettings),
        (NATIVE | {"head": LINEAR | {"type": "StackedLinearClsHead", "in_channels": 32}}, MmclsModelSettings),
        (RESNET | {"backbone": TIMM}, TimmModelSettings),
        (RESNET | {"backbone": TIMM | {"features_only": True}}, MmclsModelSettings),
    ],
)
def test_collect__who_builds_it(mm_model: dict[str, Any], kind: type) -> None:
    before = copy.deepcopy(mm_model)
    settings, problems = collect(mm_model)
    assert type(settings) is kind
    assert mm_model == before
    assert problems == Problems(), "what is left to mmcls is no problem"
    again, _ = collect(write_any_model(settings))
    assert again == settings or kind is MmclsModelSettings and again.mm_model == settings.mm_model


def test_collect__mmcls_gets_all_that_was_said() -> None:
    said = RESNET | {"train_cfg": {"augments": {"type": "BatchMixup", "alpha": 1.0}}, "_note": "kept"}
    settings, _ = collect(said)
    assert settings.mm_model == said
    assert settings.num_classes == 3 and settings.image_size is None
    assert settings.reasons == (
        "model.mm_model.neck is {'type': 'GlobalAveragePooling'}: only null is native",
        "model.mm_model.backbone.type is 'ResNet': native are BEiTv2, BeitBackbone, VisionTransformer, "
        "DistilledVisionTransformer",
    )
    assert part_for_training(said, settings) == {}, "all of it is in the settings"
    settings.mm_model["head"]["num_classes"] = 9
    assert LINEAR["num_classes"] == 3


@pytest.mark.parametrize("written_into_head", [None, 14])
def test_collect__classes_of_a_head_without_layers_are_the_backbones(written_into_head: int | None) -> None:
    """Scripts for all models of the hub set head.num_classes, which such a head does not know."""
    mm_model = copy.deepcopy(VGG)
    if written_into_head:
        mm_model["head"]["num_classes"] = written_into_head
    settings, problems = collect(mm_model)
    assert problems == Problems()
    assert settings.num_classes == settings.mm_model["backbone"]["num_classes"] == (written_into_head or 1000)
    assert "num_classes" not in settings.mm_model["head"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": {"type": "LinearClsHead"}}, "model.mm_model.head.num_classes is missing: a number of at least 1"),
        ({"head": LINEAR | {"num_classes": 0}}, "head.num_classes is 0: a number of at least 1"),
        ({"head": LINEAR | {"num_classes": "3"}}, "head.num_classes is '3': a whole number"),
        ({"head": None}, "model.mm_model.head is None: a mapping is expected"),
        ({"backbone": {"type": "VGG"}, "head": {"type": "ClsHead"}}, "backbone.num_classes is missing"),
        ({"type": "Segmentor"}, "model.mm_model.type is 'Segmentor': 'ImageClassifier' is expected"),
    ],
)
def test_collect__what_nobody_can_build(change: dict[str, Any], message: str) -> None:
    settings, problems = collect(RESNET | change)
    assert settings is None
    (wrong,) = problems.wrong
    assert message in wrong
