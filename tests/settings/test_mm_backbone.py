"""Backbones of an mm_model; the oracles are the stock classes of ModelScope and mmcls."""

import copy

import pytest

from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.mm_backbone import write_backbone
from modelscope_beit.settings.mm_model import read_mm_model
from modelscope_beit.settings.model import model_settings

TINY = {"embed_dims": 32, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64}
# Arguments of the stock class that a JSON file can give.
STOCK_KEYS = {
    *("type", "arch", "img_size", "patch_size", "in_chans", "qkv_bias", "qk_scale", "drop_rate", "attn_drop_rate"),
    *("drop_path_rate", "init_values", "use_abs_pos_emb", "use_rel_pos_bias", "use_shared_rel_pos_bias"),
    *("use_mean_pooling", "init_scale", "out_indices", "frozen_stages", "init_cfg"),
}


def beit_v2(width, **backbone):
    return {
        "type": "ImageClassifier",
        "backbone": {"type": "BEiTv2", **backbone},
        "head": {"type": "LinearClsHead", "num_classes": 7, "in_channels": width},
    }


def vision_transformer(width, **backbone):
    return {
        "type": "ImageClassifier",
        "backbone": {"type": "VisionTransformer", "img_size": 32, **backbone},
        "head": {"type": "VisionTransformerClsHead", "num_classes": 7, "in_channels": width},
    }


def stock_shapes(mm_model):
    """Parameter shapes of the stock network, without its index buffers."""
    mmcls_models = pytest.importorskip("mmcls.models", reason="the stock class is the oracle and needs mmcls")
    pytest.importorskip("modelscope.models.cv.image_classification.backbones", reason="needs ModelScope's backbone")
    model = mmcls_models.build_classifier(copy.deepcopy(mm_model))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def our_shapes(mm_model):
    network = build_classifier(read_mm_model(mm_model), device="meta")
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


@pytest.mark.openmmlab
@pytest.mark.parametrize(
    "backbone",
    [
        {"init_values": 0.1},  # The stock defaults: absolute positions, no bias tables, no q and v bias.
        {"init_values": 0, "qkv_bias": True, "use_rel_pos_bias": True, "use_abs_pos_emb": False},
        {"init_values": 1e-5, "use_shared_rel_pos_bias": True, "use_mean_pooling": False, "img_size": [48, 32]},
        {"init_values": 0.1, "in_chans": 1, "patch_size": 8, "img_size": 32, "use_rel_pos_bias": True},
    ],
)
def test_read_beit_v2__same_parameters_as_stock(backbone):
    mm_model = beit_v2(768, **{"img_size": 32} | backbone)
    assert our_shapes(mm_model) == stock_shapes(mm_model)


@pytest.mark.openmmlab
@pytest.mark.parametrize("arch", ["large", "huge", "giant"])
def test_read_beit_v2__sizes_of_stock(arch):
    backbones = pytest.importorskip(
        "modelscope.models.cv.image_classification.backbones.beit_v2", reason="the stock class needs mmcls"
    )
    stock = backbones.BEiTv2
    width = stock.embed_dims[arch]
    settings = read_mm_model(beit_v2(width, arch=arch)).backbone
    assert (settings.width, settings.depth, settings.num_heads) == (width, stock.depths[arch], stock.num_heads[arch])
    assert settings.mlp_hidden == int(width * stock.mlp_ratios[arch])


@pytest.mark.openmmlab
@pytest.mark.parametrize("arch", ["s", "small", "B", "large", "deit-t", "deit-small", "deit-base", TINY])
def test_read_vision_transformer__sizes_and_parameters_of_mmcls(arch):
    transformer = pytest.importorskip("mmcls.models.backbones", reason="mmcls is the oracle").VisionTransformer
    known = transformer.arch_zoo[arch.lower()] if isinstance(arch, str) else arch
    mm_model = vision_transformer(known["embed_dims"], arch=arch)
    settings = read_mm_model(mm_model).backbone
    assert settings.depth == known["num_layers"]
    assert settings.mlp_hidden == known["feedforward_channels"]
    assert settings.num_heads == known["num_heads"]
    if arch in ("deit-t", TINY):
        # The names differ (mmcls has layers.0.ln1 where unilm has blocks.0.norm1), the shapes may not.
        assert sorted(our_shapes(mm_model).values()) == sorted(stock_shapes(mm_model).values())


@pytest.mark.openmmlab
@pytest.mark.parametrize("hidden_dim", [None, 48])
@pytest.mark.parametrize(
    ("kind", "head"),
    [("VisionTransformer", "VisionTransformerClsHead"), ("DistilledVisionTransformer", "DeiTClsHead")],
)
def test_read_vision_transformer__parameters_of_mmcls_with_any_head(kind, head, hidden_dim):
    mm_model = vision_transformer(32, type=kind, arch=TINY)
    mm_model["head"] |= {"type": head, "hidden_dim": hidden_dim}
    assert sorted(our_shapes(mm_model).values()) == sorted(stock_shapes(mm_model).values())


@pytest.mark.openmmlab
@pytest.mark.parametrize("norm_cfg", [None, {"type": "LN"}, {"type": "LN", "eps": 1e-12}])
def test_read_vision_transformer__layer_norm_eps_of_mmcls(norm_cfg):
    mmcls_models = pytest.importorskip("mmcls.models", reason="mmcls is the oracle")
    chosen = {} if norm_cfg is None else {"norm_cfg": norm_cfg}
    mm_model = vision_transformer(32, arch=TINY, **chosen)
    stock = mmcls_models.build_classifier(copy.deepcopy(mm_model))
    assert read_mm_model(mm_model).backbone.layer_norm_eps == stock.backbone.layers[0].norm1.eps


@pytest.mark.parametrize("size", ["base", "large", "huge", "giant"])
def test_write_backbone__only_keys_of_the_stock_class_for_published_networks(size):
    backbone = write_backbone(model_settings("beitv2", size, drop_path=0.1, frozen_stages=2).backbone, 0.01)
    assert set(backbone) <= STOCK_KEYS
    assert backbone["arch"] == size


def test_write_backbone__no_layer_scale_is_0_because_the_stock_class_compares_it():
    assert write_backbone(model_settings("beitv2", "base", layer_scale_init=None).backbone, 0.001)["init_values"] == 0


def test_write_backbone__names_deit():
    backbone = write_backbone(model_settings("vit", "tiny").backbone, 0.001)
    assert (backbone["type"], backbone["arch"]) == ("VisionTransformer", "deit-tiny")
    backbone = write_backbone(model_settings("vit", "tiny", distilled=True, pooling="two_tokens").backbone, 0.001)
    assert (backbone["type"], backbone["arch"]) == ("DistilledVisionTransformer", "deit-tiny")
