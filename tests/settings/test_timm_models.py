"""A TIMMBackbone in an mm_model: there and back, what is left to mmcls, and what a person is told."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.any_model import collect_any_model, write_any_model
from modelscope_beit.settings.foreign_models import MmclsModelSettings, TimmModelSettings
from modelscope_beit.settings.problems import Problems

# As mmcls's configurations have it, e.g. configs/efficientnet or a user's own.
BIT: dict[str, Any] = {
    "type": "ImageClassifier",
    "backbone": {"type": "TIMMBackbone", "model_name": "resnetv2_50x1_bit", "pretrained": True, "drop_path_rate": 0.1},
    "neck": {"type": "GlobalAveragePooling"},
    "head": {
        "type": "LinearClsHead",
        "num_classes": 37,
        "in_channels": 2048,
        "loss": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
        "topk": [1, 5],
    },
}


def changed(**parts: Any) -> dict[str, Any]:
    """Returns the mm_model with keys of its parts changed; None in place of a part removes it."""
    mm_model = copy.deepcopy(BIT)
    for name, changes in parts.items():
        mm_model[name] = changes if changes is None else mm_model[name] | changes
    return mm_model


def read(mm_model: dict[str, Any]) -> Any:
    problems = Problems()
    settings = collect_any_model(mm_model, "model.mm_model", problems)
    problems.raise_if_any("here")
    return settings


def test_read_timm_model__what_mmcls_would_download_is_in_the_folder() -> None:
    assert read(BIT) == TimmModelSettings("resnetv2_50x1_bit", 37, 2048, arguments={"drop_path_rate": 0.1})


def test_read_timm_model__what_mmcls_takes_away_again_is_no_argument() -> None:
    assert read(changed(backbone={"num_classes": 0, "global_pool": "avg", "features_only": False})) == read(BIT)


@pytest.mark.parametrize(
    ("init_cfg", "std"),
    [
        (None, 0.01),
        ({"type": "Normal", "layer": "Linear", "std": 0.02}, 0.02),
        ({"type": "Normal", "layer": "Linear", "std": 0}, 0.0),
        ({"type": "Constant", "layer": "Linear", "val": 0}, 0.0),
    ],
)
def test_read_timm_model__values_of_a_fresh_head(init_cfg: Any, std: float) -> None:
    assert read(changed(head={"init_cfg": init_cfg})).head_init_std == std


@pytest.mark.parametrize(
    "parts",
    [
        {"backbone": {"features_only": True}},
        {"backbone": {"norm_layer": "BN2d"}},
        {"neck": {"type": "GeneralizedMeanPooling"}},
        {"neck": {"type": "GlobalAveragePooling", "dim": 1}},
        {"neck": None},
        {"head": {"type": "StackedLinearClsHead", "mid_channels": [64]}},
        {"head": {"init_cfg": {"type": "Constant", "layer": "Linear", "val": 1}}},
    ],
)
def test_read_timm_model__what_only_mmcls_can_build_is_left_to_it(parts: dict[str, Any]) -> None:
    settings = read(changed(**parts))
    assert isinstance(settings, MmclsModelSettings)
    assert settings.reasons


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"backbone": {"model_name": None}}, r"backbone.model_name is None: the name of a timm model is expected"),
        ({"head": {"in_channels": 0}}, r"head.in_channels is 0: the number of channels of the backbone's last"),
        ({"head": {"in_channels": "2048"}}, r"head.in_channels is '2048': a whole number is expected"),
        ({"head": {"num_classes": 0}}, r"head.num_classes is 0: a number of at least 1 is expected"),
    ],
)
def test_read_timm_model__what_nobody_can_build(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(changed(**parts))


def test_timm_model_settings__no_class() -> None:
    with pytest.raises(SettingsError, match=r"num_classes \(0\)"):
        TimmModelSettings("resnet50", 0, 2048)


def test_timm_model_settings__with_num_classes() -> None:
    settings = TimmModelSettings("resnet50", 10, 2048, head_init_std=0.0)
    assert settings.with_num_classes(3) == TimmModelSettings("resnet50", 3, 2048, head_init_std=0.0)
    assert settings.image_size is None


_ARGUMENTS = st.dictionaries(
    st.sampled_from(["drop_path_rate", "stem_chs", "channels"]),
    st.one_of(st.integers(1, 64), st.floats(0, 1), st.lists(st.integers(1, 64), max_size=4)),
)


@hypothesis_settings(max_examples=50, deadline=None)
@given(
    st.builds(
        TimmModelSettings,
        model_name=st.sampled_from(["resnet50", "resnetv2_50x1_bit"]),
        num_classes=st.integers(1, 30_000),
        width=st.integers(1, 4096),
        in_channels=st.integers(1, 4),
        arguments=_ARGUMENTS,
        head_init_std=st.sampled_from([0.0, 0.01, 0.02]),
    )
)
def test_write_timm_model__is_read_back(settings: TimmModelSettings) -> None:
    assert read(write_any_model(settings)) == settings
