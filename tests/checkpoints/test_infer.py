from dataclasses import replace
from typing import Any

import pytest
import torch

from modelscope_beit.checkpoints.convert import rename
from modelscope_beit.checkpoints.infer import Hints, infer_grid, infer_settings
from modelscope_beit.checkpoints.key_tables import LAYOUTS
from modelscope_beit.checkpoints.recognise import recognise
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import BackboneSettings, ModelSettings, model_settings


def inferred(settings: ModelSettings, hints: Hints | None = None) -> ModelSettings:
    tensors = build_classifier(settings, device="meta").state_dict()
    return infer_settings(rename(tensors, LAYOUTS["modelscope"]), hints)


@pytest.mark.parametrize(
    "settings",
    [
        model_settings("beitv2", "base"),
        model_settings("beitv2", "large", num_classes=21841),
        model_settings("beitv2", "huge", patch_size=14),
        model_settings("beitv2", "giant", patch_size=14),
        model_settings("beit", "base", image_size=(384, 384), absolute_position=True),
        model_settings("beitv2", "24x544", relative_position="shared", pooling="class_token"),
        model_settings("vit", "tiny"),
        model_settings("vit", "base", image_size=(384, 384)),
        model_settings("vit", "huge", patch_size=14),
        model_settings("vit", "small", qkv_bias="none", layer_scale_init=0.1, in_channels=1),
        replace(model_settings("vit", "base", num_classes=21841), hidden_width=768),
        model_settings("vit", "tiny", image_size=(384, 384), distilled=True, pooling="two_tokens"),
        model_settings("vit", "small", distilled=True),
        replace(model_settings("vit", "base", distilled=True, pooling="two_tokens"), hidden_width=768),
    ],
)
def test_infer_settings__gives_the_settings_that_the_weights_were_built_from(settings: ModelSettings) -> None:
    assert inferred(settings) == settings


def test_infer_settings__small_of_mmcls_has_heads_of_96_channels() -> None:
    backbone = BackboneSettings(
        width=768,
        depth=8,
        num_heads=8,
        mlp_hidden=2304,
        qkv_bias="full",
        relative_position="none",
        absolute_position=True,
        layer_scale_init=None,
        pooling="class_token",
    )
    assert inferred(ModelSettings(backbone)).backbone.num_heads == 8


def test_infer_settings__hints_say_what_weights_do_not() -> None:
    settings = model_settings("vit", "base", width=96, num_heads=4, image_size=(32, 64), layer_norm_eps=1e-12)
    assert inferred(settings, Hints(num_heads=4, grid=(2, 4), layer_norm_eps=1e-12)) == settings
    with pytest.raises(CheckpointError, match="how many attention heads"):
        inferred(settings.with_image_size(32, 32))


def test_infer_settings__contradicting_heads_are_an_error() -> None:
    with pytest.raises(CheckpointError, match="says 8 heads, but the relative-position table has 12"):
        inferred(model_settings("beitv2", "base", depth=1), Hints(num_heads=8))


def test_infer_settings__masked_image_model_becomes_a_classifier_with_a_table_per_block(
    masked_image_state: dict[str, torch.Tensor],
) -> None:
    renamed = rename(masked_image_state, recognise(masked_image_state))
    settings = infer_settings(renamed, Hints(num_classes=37))
    assert settings.num_classes == 37
    assert settings.backbone.relative_position == "per_layer"
    assert settings.backbone.pooling == "mean"
    assert settings.backbone.depth == 2


def test_infer_settings__missing_part_is_named(unilm_state: dict[str, torch.Tensor]) -> None:
    del unilm_state["blocks.0.mlp.fc1.weight"]
    with pytest.raises(CheckpointError, match=r"backbone\.blocks\.0\.mlp\.fc1\.weight"):
        infer_settings(rename(unilm_state, LAYOUTS["unilm"]))


@pytest.mark.parametrize("family", ["beitv2", "vit"])
def test_infer_grid__not_square_needs_to_be_told(family: Any) -> None:
    settings = model_settings(family, "tiny", depth=1, image_size=(32, 80))
    renamed = rename(build_classifier(settings, device="meta").state_dict(), LAYOUTS["modelscope"])
    assert infer_grid(renamed, 16, (2, 5)) == (2, 5)
    with pytest.raises(CheckpointError, match="not those of a square grid"):
        infer_grid(renamed, 16)
    with pytest.raises(CheckpointError, match="nor of the grid 3x3"):
        infer_grid(renamed, 16, (3, 3))


@pytest.mark.parametrize("family", ["beitv2", "vit"])
def test_infer_grid__square_unless_the_told_grid_agrees(family: Any) -> None:
    settings = model_settings(family, "tiny", depth=1, image_size=(96, 96))
    renamed = rename(build_classifier(settings, device="meta").state_dict(), LAYOUTS["modelscope"])
    assert infer_grid(renamed, 16, (14, 14)) == (6, 6)
