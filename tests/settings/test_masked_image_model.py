import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.model import BackboneSettings


def test_masked_image_model_settings__the_published_base_model():
    settings = MaskedImageModelSettings()
    assert settings.num_visual_tokens == 8192
    assert (settings.backbone.width, settings.backbone.depth, settings.backbone.grid) == (768, 12, (14, 14))
    assert settings.backbone.relative_position == "shared"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"backbone": BackboneSettings()}, "pooling mean"),
        ({"num_visual_tokens": 0}, "num_visual_tokens must be at least 1, not 0"),
    ],
)
def test_masked_image_model_settings__refused(arguments, expected):
    with pytest.raises(SettingsError, match=expected):
        MaskedImageModelSettings(**arguments)
