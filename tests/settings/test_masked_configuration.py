"""The section `masked` and back, and the classifier that follows."""

from dataclasses import replace

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.configuration import read_configuration
from modelscope_beit.settings.masked_configuration import (
    classifier_configuration,
    masked_settings_from,
    write_masked_settings,
)
from modelscope_beit.settings.masked_pretraining import (
    MaskedPretrainingSettings,
    MaskingSettings,
    ViewSettings,
    masked_pretraining_settings,
)
from modelscope_beit.settings.recipe import read_recipe


def test_masked_settings_from__nothing_is_the_published_base():
    assert masked_settings_from({}, "x.json") == MaskedPretrainingSettings()


def test_masked_settings_from__a_size_and_what_is_otherwise():
    section = {
        "size": "large",
        "image_size": [128, 96],
        "drop_path": 0.1,
        "masking": {"min_block": 4, "ratio": 0.5},
        "views": {"code_size": [64, 64], "code_interpolation": "lanczos", "scale": [0.5, 1]},
    }
    expected = replace(
        masked_pretraining_settings("base"),  # masks of the large grid would be refused on the way
        masking=MaskingSettings(min_block=4, ratio=0.5),
        views=ViewSettings(code_size=(64, 64), code_interpolation="lanczos", scale=(0.5, 1.0)),
    )
    found = masked_settings_from(section, "x.json")
    assert (found.masking, found.views, found.early_layer) == (expected.masking, expected.views, 21)
    assert found.model.backbone.image_size == (128, 96) and found.model.backbone.drop_path == 0.1
    assert found.model.backbone.width == 1024 and found.num_masked == 24


def test_masked_settings_from__the_early_layer_follows_the_depth():
    assert masked_settings_from({"depth": 6}, "x.json").early_layer == 3


@pytest.mark.parametrize(
    "settings",
    [
        MaskedPretrainingSettings(),
        masked_pretraining_settings("large", drop_path=0.1, gradient_checkpointing=True),
        replace(masked_pretraining_settings("tiny", layer_scale_init=None), head_layers=0, early_layer=2),
        replace(
            MaskedPretrainingSettings(),
            masking=MaskingSettings(num_masked=60, max_block=30),
            views=ViewSettings(code_size=(112, 112), num_crops=3, mean=(0.5, 0.5, 0.5)),
        ),
    ],
    ids=["base", "large", "tiny", "others"],
)
def test_write_masked_settings__and_back(settings):
    assert masked_settings_from(write_masked_settings(settings), "x.json") == settings


def test_write_masked_settings__refuses_what_it_has_no_word_for():
    settings = masked_pretraining_settings("base", layer_norm_eps=1e-5)
    with pytest.raises(SettingsError, match="another layer_norm_eps"):
        write_masked_settings(settings)


def test_masked_settings_from__tells_all_that_is_wrong():
    section = {
        "depht": 3,
        "width": "wide",
        "masking": {"ration": 0.4, "min_block": 1.5},
        "views": {"scale": [0.2], "flip": None},
    }
    with pytest.raises(SettingsError) as error:
        masked_settings_from(section, "x.json")
    message = str(error.value)
    assert message.startswith("x.json, masked cannot be used")
    for told in (
        "depht is 3: nobody knows this key; did you mean depth?",
        "width is 'wide': a whole number or null",
        "masking.ration is 0.4: nobody knows this key; did you mean ratio?",
        "masking.min_block is 1.5",
        "views.scale is [0.2]: a list of 2 values",
        "views.flip is None",
    ):
        assert told in message


def test_masked_settings_from__a_size_that_does_not_exist():
    with pytest.raises(SettingsError, match="no size 'bas'; choose one of .*base"):
        masked_settings_from({"size": "bas"}, "x.json")


def test_classifier_configuration__describes_a_classifier_that_can_be_trained():
    content = classifier_configuration(masked_pretraining_settings("large", drop_path=0.1))
    settings = read_configuration(content, "x.json")
    backbone = settings.model.backbone
    assert (backbone.width, backbone.depth, backbone.layer_scale_init) == (1024, 24, 1e-5)
    assert (backbone.relative_position, backbone.pooling, backbone.absolute_position) == ("per_layer", "mean", False)
    _, recipe = read_recipe(content, where="x.json")
    assert recipe.optimizer.kind == "AdamW"
