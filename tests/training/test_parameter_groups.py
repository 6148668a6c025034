"""Groups against mmcv's constructor, timm's function and unilm's golden numbers, parameter by parameter."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings
from modelscope_beit.settings.optimizer import OptimizerSettings, read_optimizer
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.training.parameter_groups import level_of, parameter_groups


def read(**config):
    problems = Problems()
    read_settings = read_optimizer(Section(config, "train.optimizer", problems))
    assert problems == Problems()
    return read_settings


def layer_decay(rate, rules="unilm", **paramwise):
    return read(
        type="AdamW",
        lr=5e-4,
        weight_decay=0.05,
        constructor="LearningRateDecayOptimizerConstructor",
        paramwise_cfg={"layer_decay_rate": rate, "layer_decay_rules": rules, **paramwise},
    )


def rates_of(groups):
    """Returns name -> (lr, weight decay)."""
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}


def on_meta(family="beitv2", size="base", **backbone):
    return build_classifier(model_settings(family, size, **backbone), device="meta")


@pytest.fixture(scope="module")
def base():
    return on_meta()


@pytest.fixture(scope="module", params=["beitv2", "vit", "shared"])
def small(request):
    shared = {"relative_position": "shared", "absolute_position": True, "pooling": "class_token"}
    if request.param == "shared":
        return on_meta("beit", "tiny", depth=2, frozen_stages=1, **shared)
    return on_meta(request.param, "tiny", depth=2)


def mmcv_rates(network, config):
    runner = pytest.importorskip("mmcv.runner", reason="mmcv is the oracle")
    optimizer = runner.build_optimizer(network, config)
    names = {id(parameter): name for name, parameter in network.named_parameters() if parameter.requires_grad}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
        if id(parameter) in names
    }


PARAMWISE = [
    None,
    {},
    {"norm_decay_mult": 0.0},
    {"bias_decay_mult": 0.0, "norm_decay_mult": 0.0, "custom_keys": {"cls_token": {"decay_mult": 0.0}}},
    {"bias_lr_mult": 2.0, "bias_decay_mult": 0.5, "dwconv_decay_mult": 0.1},
    {
        "custom_keys": {
            "backbone": {"lr_mult": 0.1, "decay_mult": 0.9},
            "head": {"lr_mult": 10},
            "blocks.1": {"lr_mult": 0.3},
            "backbone.blocks.1.mlp.fc1.bias": {"decay_mult": 0},
            ".norm": {"lr_mult": 0.0},
        },
        "norm_decay_mult": 0.0,
        "bypass_duplicate": True,
    },
]


@pytest.mark.parametrize("paramwise", PARAMWISE, ids=str)
@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_parameter_groups__equal_mmcv(small, kind, paramwise):
    config = {"type": kind, "lr": 3e-4, "weight_decay": 0.05, "paramwise_cfg": paramwise}
    assert rates_of(parameter_groups(small, read(**config))) == mmcv_rates(small, config)


pieces = st.sampled_from(["backbone", "head", ".0.", "norm", "norm1.", "bias", "attn.q", "mlp.fc1", "e", "gamma_1"])
factors = st.floats(0, 3)
drawn_rules = st.fixed_dictionaries(
    {},
    optional={
        "bias_lr_mult": factors,
        "bias_decay_mult": factors,
        "norm_decay_mult": factors,
        "custom_keys": st.dictionaries(
            pieces, st.fixed_dictionaries({}, optional={"lr_mult": factors, "decay_mult": factors}), max_size=4
        ),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paramwise=drawn_rules, lr=st.floats(1e-6, 1))
def test_parameter_groups__equal_mmcv_for_any_rules(paramwise, lr):
    network = on_meta("beitv2", "tiny", depth=2)
    config = {"type": "AdamW", "lr": lr, "weight_decay": 0.05, "paramwise_cfg": paramwise}
    assert rates_of(parameter_groups(network, read(**config))) == mmcv_rates(network, config)


class AnyNetwork(nn.Module):
    """Layers that rules tell apart, a parameter of its own, and one that two layers share."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.stem = nn.Conv2d(1, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.grouped = nn.Conv2d(4, 8, 3, groups=2)
        self.line = nn.Conv1d(4, 4, 3, groups=4)
        self.norms = nn.Sequential(nn.BatchNorm2d(4), nn.SyncBatchNorm(4), nn.GroupNorm(2, 4), nn.LayerNorm(4))
        self.norms.append(nn.InstanceNorm2d(4, affine=True))
        self.norms.append(nn.BatchNorm1d(4, affine=False))
        self.table = nn.Embedding(3, 4)
        self.fc = nn.Linear(4, 3)
        self.fc.weight = self.table.weight
        self.again = nn.Sequential(self.depthwise)


RULES = [
    {"norm_decay_mult": 0.1, "dwconv_decay_mult": 0.2, "bias_decay_mult": 0.3, "bias_lr_mult": 2.0},
    {"norm_decay_mult": 0.1, "custom_keys": {".scale": {"lr_mult": 3}, "norms.3": {"decay_mult": 0.5}, "fc": {}}},
    {"bias_lr_mult": 2.0, "custom_keys": {"table": {"decay_mult": 0}, "again": {"lr_mult": 9}, "bias": {"lr_mult": 4}}},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_parameter_groups__of_any_network_equal_mmcv(rules):
    network = AnyNetwork()
    config = {"type": "SGD", "lr": 0.1, "weight_decay": 1.0, "paramwise_cfg": rules | {"bypass_duplicate": True}}
    ours = rates_of(parameter_groups(network, read(**config)))
    assert ours == mmcv_rates(network, config)
    assert ours.keys() == dict(network.named_parameters()).keys()


@pytest.mark.openmmlab
def test_parameter_groups__norms_of_mmcls_are_norms():
    bricks = pytest.importorskip("mmcls.models.backbones.convnext", reason="mmcls is the oracle")
    network = nn.Sequential(bricks.LayerNorm2d(4), nn.Linear(4, 4))
    config = {"type": "SGD", "lr": 0.1, "weight_decay": 1.0, "paramwise_cfg": {"norm_decay_mult": 0.0}}
    rates = rates_of(parameter_groups(network, read(**config)))
    assert rates == mmcv_rates(network, config)
    assert rates["0.weight"] == (0.1, 0.0)


def test_parameter_groups__flat_rule_takes_what_no_other_rule_took(base):
    config = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05}
    rates = rates_of(parameter_groups(base, read(**config, paramwise_cfg={"flat_decay_mult": 0, "bias_decay_mult": 1})))
    decayed = {name for name, (_, weight_decay) in rates.items() if weight_decay}
    flat = {name for name, parameter in base.named_parameters() if parameter.ndim == 1}
    biases = {name for name in flat if name.endswith(".bias") and "norm" not in name}
    assert decayed == rates.keys() - flat | biases


def test_parameter_groups__are_few_and_complete(base):
    rules = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0}
    groups = parameter_groups(base, read(type="AdamW", lr=1e-3, weight_decay=0.05, paramwise_cfg=rules))
    assert len(groups) == 2
    named = dict(base.named_parameters())
    for group in groups:
        assert group.keys() == {"params", "lr", "weight_decay", "names"}
        assert all(named[name] is parameter for name, parameter in zip(group["names"], group["params"], strict=True))
    assert sorted(name for group in groups for name in group["names"]) == sorted(named)


@pytest.mark.parametrize(
    ("size", "rate", "lowest"),
    [("base", 0.60, 1.306e-3), ("base", 0.65, 3.697e-3), ("base", 0.75, 2.376e-2), ("large", 0.80, 3.778e-3)],
)
def test_parameter_groups__golden_multipliers_of_unilm(size, rate, lowest):
    network = on_meta(size=size)
    depth = {"base": 12, "large": 24}[size]
    rates = rates_of(parameter_groups(network, layer_decay(rate)))
    multipliers = {name: lr / 5e-4 for name, (lr, _) in rates.items()}
    assert multipliers["backbone.cls_token"] == pytest.approx(lowest, rel=5e-4)
    assert multipliers["backbone.patch_embed.proj.bias"] == multipliers["backbone.cls_token"]
    assert multipliers["backbone.blocks.0.gamma_1"] == pytest.approx(rate**depth)
    assert multipliers[f"backbone.blocks.{depth - 1}.attn.relative_position_bias_table"] == pytest.approx(rate)
    assert multipliers["backbone.fc_norm.weight"] == multipliers["head.fc.weight"] == 1.0
    assert len(set(multipliers.values())) == depth + 2


def test_parameter_groups__unilm_decays_62_of_199_tensors(base):
    rates = rates_of(parameter_groups(base, layer_decay(0.6)))
    decayed = [name for name, (_, weight_decay) in rates.items() if weight_decay]
    assert {weight_decay for _, weight_decay in rates.values()} == {0.0, 0.05}
    assert (len(decayed), len(rates)) == (62, 199)
    assert sum("relative_position_bias_table" in name for name in decayed) == 12


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("beitv2_base_patch16_224", {"family": "beitv2"}),
        ("vit_base_patch16_224", {"family": "vit"}),
        ("deit_base_distilled_patch16_224", {"family": "vit", "distilled": True, "pooling": "two_tokens"}),
        ("beit_base_patch16_224", {"family": "beit", "relative_position": "shared", "absolute_position": True}),
        ("beit_base_patch16_224", {"family": "beit", "pooling": "class_token"}),
    ],
    ids=str,
)
def test_parameter_groups__timm_rules_equal_timm(name, network):
    timm = pytest.importorskip("timm", reason="timm is the oracle")
    optim = pytest.importorskip("timm.optim", reason="timm is the oracle")
    changes = {}
    if network.get("relative_position") == "shared":
        changes = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_abs_pos_emb": True}
    if network.get("pooling") == "class_token":
        changes = {"global_pool": "token"}
    with torch.device("meta"):
        theirs = timm.create_model(name, **changes)
    excluded = theirs.no_weight_decay()
    groups = optim.param_groups_layer_decay(theirs, weight_decay=0.05, no_weight_decay_list=excluded, layer_decay=0.7)
    names = {id(parameter): name for name, parameter in theirs.named_parameters()}
    expected = {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    rates = rates_of(parameter_groups(on_meta(**network), layer_decay(0.7, "timm")))
    ours = {
        name.removeprefix("backbone.").replace("head.fc_", "head_").replace("head.fc.", "head."): rate
        for name, rate in rates.items()
    }
    assert ours.keys() == expected.keys()
    for parameter, (scale, weight_decay) in expected.items():
        assert ours[parameter] == pytest.approx((5e-4 * scale, weight_decay), rel=1e-12), parameter


@pytest.mark.parametrize(
    ("name", "unilm", "timm"),
    [
        ("backbone.mask_token", 0, 0),
        ("backbone.pos_embed", 0, 0),
        ("backbone.blocks.11.norm1.weight", 12, 12),
        ("backbone.norm.weight", 13, 12),
        ("backbone.fc_norm.weight", 13, 13),
        ("backbone.rel_pos_bias.relative_position_bias_table", 13, 0),
        ("head.fc.bias", 13, 13),
    ],
)
def test_level_of__where_the_rules_differ(name, unilm, timm):
    assert (level_of(name, 12, "unilm"), level_of(name, 12, "timm")) == (unilm, timm)


def test_parameter_groups__layer_decay_and_custom_keys_multiply(base):
    keys = {"head": {"lr_mult": 10}, "relative_position_bias_table": {"decay_mult": 0}}
    rates = rates_of(parameter_groups(base, layer_decay(0.5, custom_keys=keys)))
    assert rates["head.fc.weight"] == (5e-3, 0.05)
    assert rates["backbone.blocks.11.attn.relative_position_bias_table"] == (2.5e-4, 0.0)
    assert sum(weight_decay > 0 for _, weight_decay in rates.values()) == 50


def test_parameter_groups__frozen_parameters_have_no_group_but_keep_their_level():
    network = on_meta("beitv2", "base", frozen_stages=11)
    rates = rates_of(parameter_groups(network, layer_decay(0.5)))
    assert not any(name.startswith(("backbone.blocks.10.", "backbone.patch_embed", "backbone.cls")) for name in rates)
    assert rates["backbone.blocks.11.attn.qkv.weight"] == (2.5e-4, 0.05)


def test_parameter_groups__nothing_to_train(tiny_classifier):
    with pytest.raises(SettingsError, match="frozen_stages"):
        parameter_groups(tiny_classifier.requires_grad_(False), OptimizerSettings("SGD", 0.1))


def test_parameter_groups__layer_decay_has_to_fit(base):
    with pytest.raises(SettingsError, match="num_layers is 24, but the network has 12 blocks"):
        parameter_groups(base, layer_decay(0.5, num_layers=24))
    with pytest.raises(SettingsError, match="needs a network with blocks, but Linear has none"):
        parameter_groups(nn.Linear(2, 2), layer_decay(0.5))


def test_parameter_groups__custom_keys_of_a_vit_in_the_names_of_mmcls():
    """A configuration of mmcls's ViT says ln1, ffn and layers, where the network here says norm1, mlp and blocks."""
    keys = {name: {"lr_mult": 0.5} for name in (".ln", "layers.1.ffn", "head.layers.head", "backbone.pos_embed")}
    network = on_meta("vit", "tiny", depth=3)
    rates = rates_of(parameter_groups(network, read(type="SGD", lr=1.0, paramwise_cfg={"custom_keys": keys})))
    halved = {name for name, (lr, _) in rates.items() if lr == 0.5}
    norms = {name for name in rates if "norm" in name}
    assert halved == norms | {name for name in rates if ".1.mlp." in name or "head" in name} | {"backbone.pos_embed"}


def test_parameter_groups__names_custom_keys_without_effect(base, caplog):
    caplog.set_level("INFO")
    keys = {"pos_embed": {"decay_mult": 0.0}, "cls_token": {"decay_mult": 0.0}}
    rules = {"custom_keys": keys}
    parameter_groups(base, read(type="AdamW", lr=1e-3, weight_decay=0.05, paramwise_cfg=rules))
    assert caplog.messages == ["train.optimizer.paramwise_cfg.custom_keys: pos_embed match no parameter."]
