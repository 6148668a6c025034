"""Optimizers against torch's own and mmcv's; momenta against what mmcv's hooks set."""

import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.optimizer import OptimizerSettings, read_optimizer
from modelscope_beit.settings.parameter_rules import CustomKey, ParamwiseSettings
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.training.optimizer import build_optimizer, momenta_of, set_learning_rates, set_momenta

CONFIGURATIONS = [
    {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05, "betas": [0.8, 0.95], "eps": 1e-6, "amsgrad": True},
    {"type": "Adam", "lr": 1e-3, "weight_decay": 0.01},
    {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True},
    {"type": "RMSprop", "lr": 1e-3, "momentum": 0.5, "centered": True},
    {"type": "Adagrad", "lr": 1e-2, "lr_decay": 0.1},
    {"type": "Adadelta", "rho": 0.8},
    {"type": "NAdam", "lr": 1e-3, "momentum_decay": 1e-3},
    {"type": "RAdam", "lr": 1e-3},
    {"type": "Adamax", "lr": 1e-3},
    {"type": "Adafactor", "lr": 1e-3, "beta2_decay": -0.7},
    {"type": "ASGD", "lr": 1e-3, "alpha": 0.6},
    {"type": "Lamb", "lr": 1e-2, "weight_decay": 0.02, "max_grad_norm": 5.0},
]


def read(config):
    problems = Problems()
    settings = read_optimizer(Section(config, "train.optimizer", problems))
    assert problems == Problems()
    return settings


def step(network, optimizer, steps=3):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda config: config["type"])
def test_build_optimizer__steps_as_mmcv_s(tiny_classifier, config, fused):
    runner = pytest.importorskip("mmcv.runner", reason="mmcv is the oracle")
    pytest.importorskip("mmcls.core", reason="mmcls has Lamb")
    rules = {"paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 3.0}}}} if "lr" in config else {}
    start = {name: tensor.clone() for name, tensor in tiny_classifier.state_dict().items()}
    ours = step(tiny_classifier, build_optimizer(tiny_classifier, read(config | rules), fused=fused))
    tiny_classifier.load_state_dict(start)
    # What a JSON file holds as a list is a tuple for torch.
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    theirs = step(tiny_classifier, runner.build_optimizer(tiny_classifier, given | rules))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "fused", "is_fused"),
    [("AdamW", True, True), ("Adam", True, True), ("SGD", True, True), ("AdamW", False, False), ("NAdam", True, False)],
)
def test_build_optimizer__fused_where_torch_has_it(tiny_classifier, kind, fused, is_fused):
    optimizer = build_optimizer(tiny_classifier, OptimizerSettings(kind, 0.1), fused=fused)
    assert type(optimizer) is getattr(torch.optim, kind)
    assert bool(optimizer.defaults.get("fused")) is is_fused


def two_groups(network, kind, **options):
    rules = ParamwiseSettings(custom_keys=(CustomKey("head", lr_mult=0.5),))
    return build_optimizer(network, OptimizerSettings(kind, 0.1, 0.0, options, rules), fused=False)


def test_build_optimizer__names_survive_in_its_state(tiny_classifier):
    state = two_groups(tiny_classifier, "SGD").state_dict()
    assert state["param_groups"][1]["names"] == ["head.fc.weight", "head.fc.bias"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("RMSprop", {"momentum": 0.9}),
        ("AdamW", {"betas": (0.9, 0.99)}),
        ("NAdam", {"betas": (0.9, 0.99)}),
    ],
)
def test_momenta__go_where_mmcv_puts_them(tiny_classifier, kind, options):
    hooks = pytest.importorskip("mmcv.runner.hooks", reason="mmcv is the oracle")
    ours, theirs = (two_groups(tiny_classifier, kind, **options) for _ in range(2))
    assert momenta_of(ours) == [0.9, 0.9]
    set_momenta(ours, [0.7, 0.6])
    runner = type("Runner", (), {"optimizer": theirs})
    hooks.MomentumUpdaterHook()._set_momentum(runner, [0.7, 0.6])
    for our_group, their_group in zip(ours.param_groups, theirs.param_groups, strict=True):
        for name in ("momentum", "betas"):
            assert our_group.get(name) == their_group.get(name)
    assert momenta_of(ours) == [0.7, 0.6]


def test_momenta_of__an_optimizer_without_momentum(tiny_classifier):
    with pytest.raises(SettingsError, match="Adagrad has neither"):
        momenta_of(two_groups(tiny_classifier, "Adagrad"))


def test_set_learning_rates__one_a_group(tiny_classifier):
    optimizer = two_groups(tiny_classifier, "AdamW")
    set_learning_rates(optimizer, [0.3, 0.2])
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.2]
    with pytest.raises(ValueError):
        set_learning_rates(optimizer, [0.3])
