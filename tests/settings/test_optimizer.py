"""train.optimizer: torch's names and options in mmcv's words."""

import inspect

import pytest
import torch

from modelscope_beit.settings.fine_tuning_defaults import fine_tuning_defaults
from modelscope_beit.settings.optimizer import OptimizerSettings, read_optimizer
from modelscope_beit.settings.parameter_rules import CustomKey, LayerDecay, ParamwiseSettings
from modelscope_beit.settings.problems import Problems, Section

KINDS = "AdamW Adam SGD RMSprop NAdam RAdam Adamax Adagrad Adadelta Adafactor ASGD".split()


def read(**config):
    problems = Problems()
    return read_optimizer(Section(config, "train.optimizer", problems)), problems


def test_read_optimizer__the_default_recipe():
    config = fine_tuning_defaults((224, 224), [])["train"]["optimizer"]
    settings, problems = read(**config)
    no_decay = (CustomKey("cls_token", decay_mult=0.0), CustomKey("pos_embed", decay_mult=0.0))
    assert settings == OptimizerSettings(
        "AdamW",
        5e-5,
        0.05,
        {"betas": (0.9, 0.999), "eps": 1e-8},
        ParamwiseSettings(bias_decay_mult=0.0, norm_decay_mult=0.0, custom_keys=no_decay),
    )
    assert problems == Problems()


def test_read_optimizer__only_what_was_given_is_an_option():
    settings, problems = read(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    assert settings.options == {"momentum": 0.9, "nesterov": True}
    assert problems == Problems()


@pytest.mark.parametrize("kind", KINDS)
def test_read_optimizer__absent_rates_are_torch_s(kind):
    settings, problems = read(type=kind)
    defaults = inspect.signature(getattr(torch.optim, kind)).parameters
    assert (settings.lr, settings.weight_decay) == (defaults["lr"].default, defaults["weight_decay"].default)
    assert problems == Problems()


@pytest.mark.parametrize("kind", KINDS)
def test_read_optimizer__every_option_of_torch_is_known(kind):
    ours = {"foreach", "fused", "capturable", "differentiable", "maximize"}
    options = {
        name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        for name, parameter in inspect.signature(getattr(torch.optim, kind)).parameters.items()
        if name not in ours | {"params"}
    }
    # Newer than the oldest torch that we ask for, or with a special value inside.
    for name in {"Adam": ["decoupled_weight_decay"], "Adafactor": ["eps"]}.get(kind, []):
        options.pop(name, None)
    settings, problems = read(type=kind, **options)
    assert problems == Problems()
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    assert settings.options == {name: value for name, value in given.items() if name not in ("lr", "weight_decay")}


def test_read_optimizer__how_it_computes_is_passed_over():
    settings, problems = read(type="AdamW", foreach=True, fused=False)
    assert settings.options == {}
    assert problems == Problems()


@pytest.mark.parametrize(
    "constructor",
    [
        "LearningRateDecayOptimizerConstructor",
        "LayerDecayOptimizerConstructor",
        "LearningRateDecayOptimWrapperConstructor",
    ],
)
def test_read_optimizer__layer_decay(constructor):
    rules = {"layer_decay_rate": 0.65, "custom_keys": {"relative_position_bias_table": {"decay_mult": 0}}}
    settings, problems = read(type="AdamW", weight_decay=0.05, constructor=constructor, paramwise_cfg=rules)
    assert settings.layer_decay == LayerDecay(0.65)
    assert settings.parameter_rules.custom_keys == (CustomKey("relative_position_bias_table", decay_mult=0.0),)
    assert problems == Problems()


@pytest.mark.parametrize("paramwise", [None, {}])
def test_read_optimizer__without_rules(paramwise):
    settings, problems = read(type="AdamW", paramwise_cfg=paramwise, constructor="DefaultOptimizerConstructor")
    assert (settings.parameter_rules, settings.layer_decay) == (ParamwiseSettings(), None)
    assert problems == Problems()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "type is missing: expected: AdamW, "),
        ({"type": "adamw"}, "type is 'adamw': did you mean AdamW?"),
        ({"type": ["SGD"]}, "type is ['SGD']: "),
        ({"type": "LBFGS"}, "type is 'LBFGS': it asks for the loss several times a step"),
        ({"type": "SGD", "lr": "0.1"}, "lr is '0.1': a number of 0 or more is expected"),
        ({"type": "SGD", "lr": float("nan")}, "lr is nan: a number of 0 or more is expected"),
        ({"type": "SGD", "lr": 0.1, "weight_decay": -1}, "weight_decay is -1: "),
        ({"type": "AdamW", "betas": [0.9, 1.0]}, "betas is [0.9, 1.0]: two numbers are expected, each a number from 0"),
        ({"type": "AdamW", "betas": 0.9}, "betas is 0.9: two numbers"),
        ({"type": "AdamW", "amsgrad": 1}, "amsgrad is 1: true or false is expected"),
        ({"type": "Lamb", "max_grad_norm": 0}, "max_grad_norm is 0: a number above 0 is expected"),
        ({"type": "Adadelta", "rho": 1.1}, "rho is 1.1: a number from 0 to 1 is expected"),
        ({"type": "SGD", "nesterov": True}, "nesterov is True: it needs a momentum above 0"),
        ({"type": "SGD", "momentum": 0.9, "dampening": 0.1, "nesterov": True}, "nesterov is True: it needs"),
        ({"type": "SGD", "maximize": True}, "maximize is True: training makes the loss smaller"),
        ({"type": "SGD", "constructor": "LearningRateDecay"}, "constructor is 'LearningRateDecay': did you mean Learn"),
        ({"type": "SGD", "paramwise_cfg": 3}, "paramwise_cfg is 3: a mapping is expected"),
        (
            {"type": "AdamW", "paramwise_cfg": {"norm_decay_mult": 0}},
            "weight_decay is missing: paramwise_cfg multiplies it",
        ),
        (
            {"type": "AdamW", "constructor": "LayerDecayOptimizerConstructor"},
            "paramwise_cfg.layer_decay_rate is missing: ",
        ),
    ],
    ids=str,
)
def test_read_optimizer__what_is_wrong(config, sentence):
    _, problems = read(**config)
    (told,) = problems.wrong
    assert told.startswith(f"train.optimizer.{sentence}")


@pytest.mark.openmmlab
def test_read_optimizer__lamb_is_mmclss():
    theirs = pytest.importorskip("mmcls.core.optimizers.lamb", reason="mmcls is the oracle").Lamb
    given = {"betas": [0.8, 0.9], "eps": 1e-5, "max_grad_norm": 2.0, "trust_clip": True, "always_adapt": True}
    settings, problems = read(type="Lamb", **given)
    defaults = inspect.signature(theirs).parameters
    assert (settings.lr, settings.weight_decay) == (defaults["lr"].default, defaults["weight_decay"].default)
    # Nobody switches these off.
    assert defaults.keys() - given.keys() == {"params", "lr", "weight_decay", "bias_correction", "grad_averaging"}
    assert settings.options == {**given, "betas": (0.8, 0.9)}
    assert problems == Problems()


def test_read_optimizer__keys_that_nobody_reads():
    _, problems = read(type="SGD", momentun=0.9, betas=[0.9, 0.999])
    assert set(problems.unknown) == {"train.optimizer.momentun", "train.optimizer.betas"}
    assert problems.unknown["train.optimizer.momentun"] == "did you mean momentum?"


def test_read_optimizer__a_decay_rate_without_its_constructor():
    settings, problems = read(type="AdamW", paramwise_cfg={"layer_decay_rate": 0.65})
    assert settings.layer_decay is None
    hint = problems.unknown["train.optimizer.paramwise_cfg.layer_decay_rate"]
    assert "train.optimizer.constructor='LearningRateDecayOptimizerConstructor'" in hint
