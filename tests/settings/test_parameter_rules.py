"""paramwise_cfg: factors for kinds of parameters, custom keys, layer-wise decay."""

import pytest

from modelscope_beit.settings.parameter_rules import (
    CustomKey,
    LayerDecay,
    ParamwiseSettings,
    asks_for_decay,
    read_layer_decay,
    read_paramwise,
)
from modelscope_beit.settings.problems import Problems, Section


def section(**mapping):
    return Section(mapping, "paramwise_cfg", Problems())


def test_read_paramwise__all_keys_of_mmcv():
    read = section(
        bias_lr_mult=2,
        bias_decay_mult=0,
        norm_decay_mult=0.5,
        dwconv_decay_mult=0.1,
        flat_decay_mult=0.2,
        dcn_offset_lr_mult=0.3,
        bypass_duplicate=True,
        custom_keys={"head": {"lr_mult": 10}},
    )
    assert read_paramwise(read) == ParamwiseSettings(2.0, 0.0, 0.5, 0.1, 0.2, (CustomKey("head", 10.0),))
    assert read.problems == Problems()


def test_read_paramwise__nothing_given():
    assert read_paramwise(section()) == ParamwiseSettings()


def test_read_paramwise__longer_custom_keys_are_tried_first():
    read = section(custom_keys={"b": {}, "a": {}, "abc": {"decay_mult": 0}, "zz": {}})
    assert [custom.key for custom in read_paramwise(read).custom_keys] == ["abc", "zz", "a", "b"]


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({"norm_decay_mult": -1}, "paramwise_cfg.norm_decay_mult is -1: a number of 0 or more is expected"),
        ({"bias_lr_mult": "2"}, "paramwise_cfg.bias_lr_mult is '2': a number of 0 or more is expected"),
        ({"custom_keys": ["head"]}, "paramwise_cfg.custom_keys is ['head']: a mapping is expected"),
        ({"custom_keys": {"head": 0.1}}, "paramwise_cfg.custom_keys.head is 0.1: a mapping is expected"),
        (
            {"custom_keys": {"head": {"lr_mult": None}}},
            "paramwise_cfg.custom_keys.head.lr_mult is None: a number of 0 or more is expected",
        ),
    ],
)
def test_read_paramwise__what_is_wrong(mapping, told):
    read = section(**mapping)
    read_paramwise(read)
    assert read.problems.wrong == [told]


def test_read_paramwise__keys_that_nobody_reads():
    read = section(norm_decay=0, custom_keys={"head": {"lr_mul": 1}})
    read_paramwise(read)
    assert read.problems.unknown == {
        "paramwise_cfg.norm_decay": "did you mean norm_decay_mult?",
        "paramwise_cfg.custom_keys.head.lr_mul": "did you mean lr_mult?",
    }


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"layer_decay_rate": 0.65}, LayerDecay(0.65)),
        ({"decay_rate": 0.9, "decay_type": "layer_wise", "num_layers": 12}, LayerDecay(0.9, "unilm", 12)),
        ({"layer_decay_rate": 1, "layer_decay_rules": "timm"}, LayerDecay(1.0, "timm")),
    ],
)
def test_read_layer_decay__spellings(mapping, expected):
    read = section(**mapping)
    assert read_layer_decay(read) == expected
    assert not read.problems.wrong


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({}, "layer_decay_rate is missing: a number above 0 and at most 1 is expected"),
        ({"layer_decay_rate": 1.5}, "layer_decay_rate is 1.5: a number above 0 and at most 1 is expected"),
        ({"layer_decay_rate": 0.5, "decay_rate": 0.5}, "decay_rate is 0.5: layer_decay_rate says the same"),
        ({"decay_rate": 0.5, "decay_type": "stage_wise"}, "decay_type is 'stage_wise': the network has blocks"),
        ({"decay_rate": 0.5, "layer_decay_rules": "mae"}, "layer_decay_rules is 'mae': 'unilm' or 'timm' is expected"),
        ({"decay_rate": 0.5, "num_layers": 0}, "num_layers is 0: a whole number of 1 or more is expected"),
    ],
)
def test_read_layer_decay__what_is_wrong(mapping, told):
    read = section(**mapping)
    read_layer_decay(read)
    (sentence,) = read.problems.wrong
    assert sentence.startswith(f"paramwise_cfg.{told}")


@pytest.mark.parametrize(
    ("mapping", "asks"),
    [
        ({}, False),
        ({"bias_lr_mult": 2, "norm_decay_mult": None}, False),
        ({"custom_keys": {"head": {"lr_mult": 2}}}, False),
        ({"custom_keys": {"head": {"decay_mult": 1.0}}}, True),
        ({"flat_decay_mult": 0.0}, True),
        ({"custom_keys": "head"}, False),
    ],
)
def test_asks_for_decay__only_factors_on_weight_decay_count(mapping, asks):
    assert asks_for_decay(mapping) is asks
