"""Sizes and contradictions of masked image modelling."""

from dataclasses import replace

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.masked_pretraining import (
    MaskedPretrainingSettings,
    MaskingSettings,
    ViewSettings,
    early_layer_of,
    evaluation_steps_of,
    masked_pretraining_settings,
)
from modelscope_beit.settings.model import BackboneSettings
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Resize


def test_defaults__are_the_published_base():
    settings = MaskedPretrainingSettings()
    backbone = settings.model.backbone
    assert (backbone.width, backbone.depth, backbone.num_heads, backbone.mlp_hidden) == (768, 12, 12, 3072)
    assert (backbone.relative_position, backbone.absolute_position, backbone.layer_scale_init) == ("shared", False, 0.1)
    assert (settings.early_layer, settings.head_layers, settings.model.num_visual_tokens) == (9, 2, 8192)
    assert (settings.num_masked, settings.masking.min_aspect) == (75, 0.3)
    assert settings.masking.smallest_block(backbone.grid) == 16
    assert settings.code_size == (224, 224) and settings.views.code_interpolation == "bicubic"
    assert settings.views.scale == (0.2, 1.0) and settings.views.color_jitter == 0.4
    assert settings == masked_pretraining_settings("base")


def test_large__is_the_published_one():
    settings = masked_pretraining_settings("large", drop_path=0.1)
    backbone = settings.model.backbone
    assert (backbone.width, backbone.depth, backbone.num_heads, backbone.mlp_hidden) == (1024, 24, 16, 4096)
    assert (settings.early_layer, backbone.layer_scale_init, backbone.drop_path) == (21, 1e-5, 0.1)


@pytest.mark.parametrize(("depth", "early"), [(12, 9), (24, 21), (4, 1), (2, 1), (1, 1)])
def test_early_layer_of(depth, early):
    assert early_layer_of(depth) == early


@pytest.mark.parametrize(("grid", "count"), [((14, 14), 75), ((7, 7), 19), ((16, 16), 98), ((8, 12), 37)])
def test_count__keeps_the_published_ratio(grid, count):
    assert MaskingSettings().count(grid) == count
    assert MaskingSettings(num_masked=5).count(grid) == 5


@pytest.mark.parametrize(("count", "smallest"), [(75, 16), (19, 4), (6, 1), (1, 1)])
def test_smallest_block__keeps_the_published_proportion(count, smallest):
    assert MaskingSettings(num_masked=count).smallest_block((14, 14)) == smallest
    assert MaskingSettings(num_masked=count, min_block=1).smallest_block((14, 14)) == 1


def test_extra_drop_paths__go_on_beyond_the_depth():
    """unilm's ladder has as many steps as the deeper of the two roads."""
    settings = replace(masked_pretraining_settings("base", drop_path=0.2), early_layer=11, head_layers=3)
    assert settings.extra_drop_paths() == pytest.approx([0.2 * step / 13 for step in (11, 12, 13)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"early_layer": 13}, "early_layer must be between 1 and the depth 12, not 13"),
        ({"head_layers": -1}, "head_layers must be at least 0"),
        ({"masking": MaskingSettings(num_masked=196)}, "196 of 14x14 patches cannot be hidden"),
        ({"masking": MaskingSettings(num_masked=9, min_block=16)}, "at least 16 patches do not fit into the 9 "),
        (
            {"model": MaskedImageModelSettings(BackboneSettings(pooling="class_token"))},
            "all blocks share one table",
        ),
    ],
)
def test_settings__that_contradict_each_other(changes, message):
    with pytest.raises(SettingsError, match=message):
        replace(MaskedPretrainingSettings(), **changes)


@pytest.mark.parametrize(
    ("make", "messages"),
    [
        (lambda: MaskingSettings(ratio=1.0, min_block=0, min_aspect=2), ("ratio", "min_block", "min_aspect")),
        (
            lambda: ViewSettings(
                code_size=(0, 3), code_interpolation="cubic", color_jitter=2, flip=-1, scale=(0.5, 0.2), num_crops=-1
            ),
            ("code_size", "code_interpolation", "color_jitter", "flip", "scale", "num_crops"),
        ),
        (lambda: ViewSettings(ratio=(0, 1), std=(0.2, 0, 0.2)), ("ratio", "std")),
    ],
)
def test_values__that_cannot_be_used_are_told_at_once(make, messages):
    with pytest.raises(SettingsError) as error:
        make()
    assert all(f"{name} must be" in str(error.value) for name in messages)


def test_size__that_does_not_exist():
    with pytest.raises(SettingsError, match="no size 'bas'; choose one of .*base"):
        masked_pretraining_settings("bas")


def test_evaluation_steps_of__are_those_of_the_published_classifiers():
    steps = {type(step): step for step in evaluation_steps_of(MaskedPretrainingSettings())}
    assert steps[Resize].size == (256, -1) and steps[Resize].interpolation == "bicubic"
    assert steps[CenterCrop].crop_size == 224
    assert steps[Normalize].mean == (123.675, 116.28, 103.53)
    assert steps[Normalize].std == (58.395, 57.12, 57.375)
    larger = {
        type(step): step for step in evaluation_steps_of(masked_pretraining_settings("base", image_size=(384, 384)))
    }
    assert larger[Resize].size == (384, -1)
