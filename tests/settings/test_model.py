import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.model import BackboneSettings, ModelSettings, model_settings


def test_backbone_settings__name_every_contradiction_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        BackboneSettings(image_size=(225, 224), num_heads=5, drop_path=1.5, frozen_stages=99)
    for part in ("225x224", "num_heads 5", "drop_path", "frozen_stages"):
        assert part in str(caught.value)


def test_model_settings__follow_the_reference_per_size() -> None:
    assert model_settings("beitv2", "base").backbone.layer_scale_init == 0.1
    assert model_settings("beitv2", "large").backbone.layer_scale_init == 1e-5
    vit = model_settings("vit", "small").backbone
    assert (vit.width, vit.qkv_bias, vit.pooling, vit.layer_scale_init) == (384, "full", "class_token", None)


def test_model_settings__unknown_size_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="base"):
        model_settings("beitv2", "enormous")


def test_model_settings__no_class_is_an_error() -> None:
    with pytest.raises(SettingsError, match="num_classes"):
        ModelSettings(num_classes=0)


def test_with_image_size__changes_the_grid_only() -> None:
    changed = ModelSettings().with_image_size(384, 192).with_num_classes(7)
    assert changed.backbone.grid == (24, 12) and changed.num_classes == 7 and changed.backbone.width == 768
