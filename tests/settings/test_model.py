"""Settings of the network; sizes and parameter counts are those that unilm, timm and mmpretrain publish."""

import pytest
import timm

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import ARCHITECTURES, BackboneSettings, ModelSettings, model_settings


def num_parameters(settings: ModelSettings) -> int:
    return sum(weight.numel() for weight in build_classifier(settings, device="meta").parameters())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (model_settings("beitv2", "base"), 86_530_984),
        (model_settings("beitv2", "base", num_classes=21_841), 102_557_713),
        (model_settings("beitv2", "base", image_size=(384, 384)), 86_744_104),
        (model_settings("beitv2", "large"), 304_430_568),
        (model_settings("beitv2", "large", image_size=(512, 512)), 305_674_728),
        (model_settings("beitv2", "huge", patch_size=14), 632_251_368),
        (model_settings("beitv2", "giant", patch_size=14), 1_012_922_856),
    ],
)
def test_model_settings__has_the_published_number_of_parameters(settings: ModelSettings, expected: int) -> None:
    assert num_parameters(settings) == expected


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_model_settings__vit_has_as_many_parameters_as_timms(size: str) -> None:
    theirs = timm.create_model(f"vit_{size}_patch16_224")
    assert num_parameters(model_settings("vit", size)) == sum(weight.numel() for weight in theirs.parameters())


@pytest.mark.parametrize("size", ARCHITECTURES)
def test_model_settings__deep_networks_start_with_a_small_layer_scale(size: str) -> None:
    patch = 14 if size in ("huge", "giant") else 16
    backbone = model_settings("beitv2", size, patch_size=patch).backbone
    assert backbone.layer_scale_init == (0.1 if backbone.depth <= 12 else 1e-5)


def test_model_settings__unknown_size_is_told_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"'medium'.*tiny, small, base"):
        model_settings("beitv2", "medium")


def test_backbone_settings__tells_every_contradiction_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        BackboneSettings(image_size=(225, 224), width=770, depth=0, drop_path=1.0, frozen_stages=5)
    message = str(caught.value)
    for part in ("225x224", "770", "num_heads 12", "depth must be at least 1, not 0", "drop_path", "frozen_stages"):
        assert part in message


@pytest.mark.parametrize(
    ("choices", "part"),
    [
        ({"distilled": True, "layer_scale_init": 0.1}, "distilled is for a ViT"),
        ({"distilled": True, "relative_position": "per_layer"}, "distilled is for a ViT"),
        ({"distilled": True, "pooling": "mean"}, "distilled is for a ViT"),
        ({"pooling": "two_tokens"}, "needs the second one"),
    ],
)
def test_backbone_settings__only_a_vit_can_be_distilled(choices: dict[str, object], part: str) -> None:
    with pytest.raises(SettingsError, match=part):
        model_settings("vit", "base", **choices)


@pytest.mark.parametrize("frozen", [-1, 0, 12])
def test_backbone_settings__freezes_from_nothing_to_every_block(frozen: int) -> None:
    assert BackboneSettings(frozen_stages=frozen).frozen_stages == frozen


def test_backbone_settings__grid_is_rows_then_columns() -> None:
    assert BackboneSettings(image_size=(224, 320)).grid == (14, 20)


def test_with_image_size__changes_nothing_else() -> None:
    settings = model_settings("beitv2", "base", num_classes=7)
    resized = settings.with_image_size(384, 224)
    assert resized.backbone.image_size == (384, 224)
    assert resized.with_image_size(224, 224) == settings


def test_with_num_classes__needs_one() -> None:
    assert ModelSettings().with_num_classes(3).num_classes == 3
    with pytest.raises(SettingsError, match="at least 1, not 0"):
        ModelSettings().with_num_classes(0)
