"""mm_model reading and writing: there and back, and what a person is told. Sizes: see test_mm_backbone.py."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.mm_model import is_native, read_mm_model, training_part, write_mm_model
from modelscope_beit.settings.model import BackboneSettings, ModelSettings, model_settings

HUB_BASE = {
    "type": "ImageClassifier",
    "pretrained": None,
    "backbone": {
        "type": "BEiTv2",
        "arch": "base",
        "img_size": 224,
        "patch_size": 16,
        "qkv_bias": True,
        "init_values": 0.1,
        "use_abs_pos_emb": False,
        "use_rel_pos_bias": True,
        "use_shared_rel_pos_bias": False,
        "use_mean_pooling": True,
        "drop_path_rate": 0.1,
    },
    "neck": None,
    "head": {
        "type": "LinearClsHead",
        "num_classes": 1000,
        "in_channels": 768,
        "loss": {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": 1000, "mode": "original"},
        "topk": (1, 5),
        "cal_acc": False,
    },
    "train_cfg": {"augments": [{"type": "BatchMixup", "alpha": 0.8, "prob": 0.5, "num_classes": 1000}]},
}
TINY = {"embed_dims": 32, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64}


def changed(**changes):
    """Returns the hub's mm_model with values changed: backbone__arch="large" is backbone.arch; None removes a key."""
    mm_model = copy.deepcopy(HUB_BASE)
    for path, value in changes.items():
        *parents, name = path.split("__")
        section = mm_model
        for parent in parents:
            section = section[parent]
        section[name] = value
    return mm_model


def vision_transformer(**backbone):
    head = {"type": "VisionTransformerClsHead", "num_classes": 7, "in_channels": 32}
    head["in_channels"] = backbone.pop("channels", 32)
    return {"backbone": {"type": "VisionTransformer", "arch": TINY, "img_size": 32} | backbone, "head": head}


def test_read_mm_model__hub_base():
    settings = read_mm_model(HUB_BASE)
    assert settings == model_settings("beitv2", "base", drop_path=0.1)


def test_read_mm_model__no_layer_scale_for_null_zero_and_absent():
    for value in (None, 0, 0.0):
        assert read_mm_model(changed(backbone__init_values=value)).backbone.layer_scale_init is None
    absent = changed()
    del absent["backbone"]["init_values"]
    assert read_mm_model(absent).backbone.layer_scale_init is None


def test_read_mm_model__custom_architecture():
    settings = read_mm_model(changed(backbone__arch=TINY, head__in_channels=32)).backbone
    assert (settings.width, settings.depth, settings.num_heads, settings.mlp_hidden) == (32, 2, 2, 64)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backbone__arch": "bse"}, ["model.mm_model.backbone.arch is 'bse'", "did you mean base?"]),
        ({"backbone__arch": {"embed_dims": 32}}, ["backbone.arch.num_layers is missing", "arch.num_heads is missing"]),
        ({"backbone__arch": TINY | {"num_head": 2}}, ["arch.num_head is 2: nobody knows", "did you mean num_heads?"]),
        ({"backbone__init_value": 0.1}, ["backbone.init_value is 0.1: nobody knows", "did you mean init_values?"]),
        ({"head__num_clases": 3}, ["head.num_clases is 3", "did you mean num_classes?"]),
        ({"nek": None}, ["model.mm_model.nek is None", "did you mean neck?"]),
        ({"backbone__qkv_bias": "yes"}, ["backbone.qkv_bias is 'yes': true or false is expected"]),
        ({"backbone__drop_path_rate": "0.1"}, ["drop_path_rate is '0.1': a number is expected"]),
        ({"backbone__img_size": [224]}, ["img_size is [224]: one whole number or [height, width]"]),
        ({"backbone__img_size": 230}, ["image_size 230x230 must be multiples of patch_size 16"]),
        ({"backbone__patch_size": [16, 8]}, ["patch_size is [16, 8]: only square patches"]),
        ({"backbone__norm_layer": "LayerNorm"}, ["norm_layer is 'LayerNorm'", "norm_cfg"]),
        ({"backbone__use_key_bias": True, "backbone__qkv_bias": False}, ["qkv_bias must be true"]),
        ({"backbone__table_resize": "cubic"}, ["table_resize is 'cubic': choose one of unilm"]),
        ({"head__num_classes": 0}, ["head.num_classes is 0: at least 1"]),
        ({"head__num_classes": "10"}, ["head.num_classes is '10': a whole number"]),
        ({"head__in_channels": 1024}, ["head.in_channels is 1024: the backbone gives 768 channels"]),
        ({"head__hidden_dim": 0}, ["head.hidden_dim is 0: at least 1"]),
        ({"head__hidden_dim": "wide"}, ["head.hidden_dim is 'wide': a whole number"]),
        ({"head": None}, ["model.mm_model.head is None: a mapping is expected"]),
        ({"backbone__patch_size": 14, "backbone__in_chans": 0}, ["in_channels must be at least 1"]),
    ],
)
def test_read_mm_model__names_key_value_and_remedy(changes, expected):
    with pytest.raises(SettingsError) as raised:
        read_mm_model(changed(**changes))
    for part in expected:
        assert part in str(raised.value)


def test_read_mm_model__tells_all_problems_at_once():
    with pytest.raises(SettingsError) as raised:
        read_mm_model(changed(backbone__arch="bas", backbone__qkv_bias=1, head__num_classes=None, head__extra=3))
    assert str(raised.value).count("\n- ") == 4


FOREIGN = [
    changed(type="Distiller"),
    changed(backbone__type="NextViT"),
    changed(backbone__type=["VisionTransformer"]),
    changed(head__type="StackedLinearClsHead"),
    changed(neck={"type": "GlobalAveragePooling"}),
    changed(backbone__qk_scale=0.5),
    changed(backbone__use_shared_rel_pos_bias=True),
    vision_transformer(final_norm=False),
    vision_transformer(output_cls_token=False),
    vision_transformer(patch_cfg={"bias": False}),
    vision_transformer(layer_cfgs={"act_cfg": {"type": "ReLU"}}),
    vision_transformer(norm_cfg={"type": "BN"}),
    vision_transformer(out_indices=[0]),
    {**vision_transformer(), "head": {"type": "LinearClsHead", "num_classes": 7, "in_channels": 32}},
    {**vision_transformer(), "head": vision_transformer()["head"] | {"hidden_dim": 8, "act_cfg": {"type": "ReLU"}}},
    {**vision_transformer(), "head": vision_transformer()["head"] | {"type": "DeiTClsHead"}},
    {**vision_transformer(type="DistilledVisionTransformer"), "head": HUB_BASE["head"] | {"in_channels": 32}},
]


@pytest.mark.parametrize("mm_model", FOREIGN)
def test_is_native__not_what_the_network_cannot_express(mm_model):
    assert not is_native(mm_model)
    with pytest.raises(SettingsError, match=r"native(.|\n)*modelscope-beit\[openmmlab\]"):
        read_mm_model(mm_model)


def test_is_native__a_mistake_is_not_a_reason_for_mmcls():
    assert is_native(changed(backbone__arch="bse", head__num_classes=0))
    assert is_native(vision_transformer(layer_cfgs={"attn_drop_rate": 0.1}, out_indices=-1, init_cfg=[]))


def test_read_mm_model__hidden_layer_and_its_activation():
    mm_model = vision_transformer()
    mm_model["head"] |= {"hidden_dim": 48, "act_cfg": {"type": "Tanh"}}
    assert read_mm_model(mm_model).hidden_width == 48
    # Without a hidden layer the activation is nowhere.
    mm_model["head"] |= {"hidden_dim": None, "act_cfg": {"type": "ReLU"}}
    assert read_mm_model(mm_model).hidden_width is None


@pytest.mark.parametrize(
    ("head", "pooling"), [("DeiTClsHead", "two_tokens"), ("VisionTransformerClsHead", "class_token")]
)
def test_read_mm_model__distilled_with_one_head_and_two(head, pooling):
    mm_model = vision_transformer(type="DistilledVisionTransformer")
    mm_model["head"]["type"] = head
    backbone = read_mm_model(mm_model).backbone
    assert (backbone.distilled, backbone.pooling) == (True, pooling)
    assert is_native(mm_model)


def test_read_mm_model__scale_that_is_the_usual_one():
    assert read_mm_model(changed(backbone__qk_scale=64**-0.5)) == read_mm_model(HUB_BASE)


def test_training_part__keeps_what_concerns_training():
    kept = training_part(changed(backbone__init_cfg={"type": "Normal"}, _about="a comment"))
    assert kept["train_cfg"] == HUB_BASE["train_cfg"]
    assert kept["_about"] == "a comment"
    assert kept["backbone"] == {"init_cfg": {"type": "Normal"}}
    assert kept["head"] == {"loss": HUB_BASE["head"]["loss"], "topk": (1, 5), "cal_acc": False}


rates = st.floats(0, 0.9)
backbones = st.builds(
    BackboneSettings,
    image_size=st.tuples(st.sampled_from([32, 64]), st.sampled_from([32, 96])),
    patch_size=st.sampled_from([8, 16]),
    in_channels=st.sampled_from([1, 3]),
    width=st.sampled_from([32, 768]),
    depth=st.sampled_from([2, 12]),
    num_heads=st.sampled_from([2, 8]),
    mlp_hidden=st.sampled_from([48, 3072]),
    qkv_bias=st.sampled_from(["none", "qv", "full"]),
    relative_position=st.sampled_from(["none", "per_layer", "shared"]),
    absolute_position=st.booleans(),
    layer_scale_init=st.sampled_from([None, 1e-5, 0.1]),
    pooling=st.sampled_from(["mean", "class_token"]),
    dropout=rates,
    attention_dropout=rates,
    drop_path=rates,
    layer_norm_eps=st.sampled_from([1e-5, 1e-6, 1e-12]),
    frozen_stages=st.integers(-1, 2),
    gradient_checkpointing=st.booleans(),
    table_resize=st.sampled_from(["unilm", "linear", "bilinear"]),
)


distilled = st.builds(
    replace,
    backbones,
    qkv_bias=st.sampled_from(["none", "full"]),
    relative_position=st.just("none"),
    absolute_position=st.just(True),
    layer_scale_init=st.none(),
    pooling=st.sampled_from(["class_token", "two_tokens"]),
    distilled=st.just(True),
)
hidden_widths = st.none() | st.integers(1, 4096)


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.builds(ModelSettings, backbones | distilled, st.integers(1, 30000), st.floats(0, 1), hidden_widths))
def test_write_mm_model__read_back_unchanged(settings):
    mm_model = write_mm_model(settings)
    assert read_mm_model(mm_model) == settings
    assert is_native(mm_model)
