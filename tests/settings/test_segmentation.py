"""Reading and writing the configuration of a folder for semantic segmentation."""

import json
from copy import deepcopy
from typing import Any

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.model import BackboneSettings
from modelscope_beit.settings.preprocessing import evaluation_steps
from modelscope_beit.settings.segmentation import (
    SegmentationFolderSettings,
    SegmentationSettings,
    beit_backbone,
    is_segmentation_configuration,
    read_segmentation_configuration,
    write_segmentation_configuration,
)

STEPS = evaluation_steps(32, mean=[127.5] * 3, std=[127.5] * 3, interpolation="bilinear", squash=True)


def settings(**backbone: Any) -> SegmentationFolderSettings:
    values = {"image_size": (32, 32), "patch_size": 4, "width": 32, "depth": 4, "num_heads": 2, "mlp_hidden": 64}
    network = SegmentationSettings(beit_backbone(**(values | backbone)), (-1, 0, 1, 3), 2, 32, (1, 2))
    return SegmentationFolderSettings(network, STEPS, ("sky", "sea\nshore"))


@pytest.mark.parametrize(
    "backbone",
    [
        {},
        {"relative_position": "none", "absolute_position": True, "layer_scale_init": None},
        {"relative_position": "shared", "layer_norm_eps": 1e-12},
    ],
    ids=str,
)
def test_configuration__is_read_as_it_was_written(backbone: dict[str, Any]) -> None:
    written = json.loads(json.dumps(write_segmentation_configuration(settings(**backbone))))
    assert read_segmentation_configuration(written, "here") == settings(**backbone)
    assert (written["framework"], written["task"]) == ("pytorch", "semantic-segmentation")
    assert written["pipeline"]["type"] == written["model"]["type"] == "beit-semantic-segmentation"


def test_beit_backbone__follows_another_size_as_transformers_does() -> None:
    assert beit_backbone(width=48) == BackboneSettings(width=48, table_resize="bilinear")


def changed(path: str, value: object) -> dict[str, Any]:
    """Returns a good configuration with one value changed, or taken out if it becomes None."""
    content: Any = deepcopy(write_segmentation_configuration(settings()))
    *parents, last = path.split(".")
    section = content
    for name in parents:
        section = section[name]
    section[last] = value
    if value is None:
        del section[last]
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model", None, "model is missing"),
        ("model.backbone", 3, "model.backbone is 3: a mapping"),
        ("model.backbone.depht", 4, "model.backbone.depht is 4: .*did you mean depth"),
        ("model.backbone.width", 33, "width 33 must be divisible by num_heads 2"),
        ("model.backbone.relative_position", "global", "one of none, per_layer, shared"),
        ("model.feature_blocks", [0, 1, 2], "4 numbers from -1 to 3"),
        ("model.feature_blocks", [0, 1, 2, 4], "4 numbers from -1 to 3"),
        ("model.feature_blocks", None, "model.feature_blocks is missing"),
        ("model.pool_scales", [0], "at least 1"),
        ("model.num_classes", 0, "num_classes must be at least 1"),
        ("model.num_classes", 3, "2 class names for 3 classes"),
        ("dataset.classes", "names.txt", "a list of class names"),
        ("dataset", None, "dataset is missing"),
        ("preprocessor.val", [], "exactly one Normalize"),
    ],
    ids=str,
)
def test_read_segmentation_configuration__says_what_is_wrong(path: str, value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as told:
        read_segmentation_configuration(changed(path, value), "seg/configuration.json")
    assert "seg/configuration.json" in str(told.value)


def test_read_segmentation_configuration__lists_every_problem() -> None:
    content = changed("dataset.classes", 5) | {"preprocessor": []}
    content["model"]["backbone"]["width"] = "wide"
    with pytest.raises(SettingsError) as told:
        read_segmentation_configuration(content, "here")
    assert [part in str(told.value) for part in ("dataset.classes", "preprocessor", "width")] == [True] * 3


def test_folder_settings__refuse_steps_that_cut_the_picture() -> None:
    steps = evaluation_steps(32, mean=[127.5] * 3, std=[127.5] * 3, crop_pct=0.9)
    with pytest.raises(SettingsError, match="crops"):
        SegmentationFolderSettings(settings().model, steps, ("a", "b"))


def test_is_segmentation_configuration__tells_ours_from_others() -> None:
    assert is_segmentation_configuration(write_segmentation_configuration(settings()))
    for other in ({}, [], None, {"model": "x"}, {"model": {"type": "ClassificationModel"}}):
        assert not is_segmentation_configuration(other)
