"""Learning rates and momenta against the real hooks of mmcv 1.7.2 and mmcls 0.25, iteration by iteration."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcv_hooks import run_hook
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.settings.schedule import read_momentum, read_schedule
from modelscope_beit.training.schedule import MomentumSchedule, Schedule

LRS = (5e-4, 3.1e-6, 0.2)
MOMENTA = (0.9, 0.45)


def read(reader, config):
    problems = Problems()
    read_settings = reader(Section(config, "train.config", problems))
    assert problems == Problems()
    return read_settings


def as_tuples(config):
    """mmcv takes some lists of a JSON file only as tuples."""
    return config | {name: tuple(value) for name, value in config.items() if name == "target_ratio"}


def sgd(lrs=LRS, momenta=(0.9, 0.9, 0.9)):
    groups = [{"params": [torch.zeros(1)], "lr": lr, "momentum": m} for lr, m in zip(lrs, momenta, strict=True)]
    return torch.optim.SGD(groups, lr=0.1)


def assert_equal_to_hook(config, **length):
    optimizer = sgd()
    per_epoch = length.pop("per_epoch")
    schedule = Schedule(read(read_schedule, dict(config)), LRS, iterations_per_epoch=per_epoch, **length)
    for iteration in run_hook("lr", as_tuples(config), optimizer, per_epoch=per_epoch, **length):
        expected = [group["lr"] for group in optimizer.param_groups]
        assert schedule.learning_rates(iteration) == pytest.approx(expected, rel=1e-12, abs=0), iteration


POLICIES = [
    {"policy": "fixed"},
    {"policy": "step", "step": 3},
    {"policy": "step", "step": [2, 5, 6], "gamma": 0.3, "min_lr": 1e-5},
    {"policy": "exp", "gamma": 0.97},
    {"policy": "poly", "power": 0.9, "min_lr": 1e-6},
    {"policy": "poly"},
    {"policy": "inv", "gamma": 0.1, "power": 0.75},
    {"policy": "CosineAnnealing", "min_lr": 0},
    {"policy": "CosineAnnealing", "min_lr_ratio": 1e-2},
    {"policy": "FlatCosineAnnealing", "start_percent": 0.6, "min_lr": 1e-7},
    {"policy": "FlatCosineAnnealing", "min_lr_ratio": 0.05},
    {"policy": "LinearAnnealing", "min_lr_ratio": 0.001},
    {"policy": "CosineRestart", "periods": [3, 5, 300], "restart_weights": [1, 0.5, 0.25], "min_lr": 1e-8},
    {"policy": "CosineAnnealingCooldown", "min_lr": 1e-5, "cool_down_time": 3, "cool_down_ratio": 0.1},
]
ITERATION_POLICIES = [
    {"policy": "cyclic", "target_ratio": [10, 1e-4], "cyclic_times": 3, "step_ratio_up": 0.4, "gamma": 0.8},
    {"policy": "cyclic", "target_ratio": [5.0], "anneal_strategy": "linear"},
    {"policy": "cyclic", "step_ratio_up": 0.0, "cyclic_times": 2, "gamma": 0.5},
    {"policy": "OneCycle", "max_lr": 0.01},
    {"policy": "OneCycle", "max_lr": 0.01, "total_steps": 200, "three_phase": True, "pct_start": 0.4},
    {"policy": "OneCycle", "max_lr": [0.01] * 3, "anneal_strategy": "linear", "div_factor": 10, "final_div_factor": 7},
]
WARM_UPS = [
    {},
    {"warmup": None, "warmup_iters": 7, "warmup_by_epoch": True},
    {"warmup": "constant", "warmup_iters": 10, "warmup_ratio": 0.3},
    {"warmup": "linear", "warmup_iters": 2, "warmup_ratio": 1e-4, "warmup_by_epoch": True},
    {"warmup": "exp", "warmup_iters": 17, "warmup_ratio": 0.01},
]


@pytest.mark.parametrize("warm_up", WARM_UPS, ids=str)
@pytest.mark.parametrize("by_epoch", [True, False, None])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_learning_rates__equal_mmcv_over_epochs(policy, by_epoch, warm_up):
    config = policy | warm_up | ({} if by_epoch is None else {"by_epoch": by_epoch})
    assert_equal_to_hook(config, per_epoch=11, epochs=8)


@pytest.mark.parametrize("warm_up", WARM_UPS[::2], ids=str)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_learning_rates__equal_mmcv_over_iterations(policy, warm_up):
    assert_equal_to_hook(policy | warm_up, per_epoch=11, iterations=61)


@pytest.mark.parametrize("length", [{"epochs": 9}, {"iterations": 101}], ids=str)
@pytest.mark.parametrize("warm_up", WARM_UPS[::2], ids=str)
@pytest.mark.parametrize("policy", ITERATION_POLICIES, ids=str)
def test_learning_rates__equal_mmcv_where_only_iterations_count(policy, warm_up, length):
    assert_equal_to_hook(policy | warm_up, per_epoch=11, **length)


lengths = st.one_of(
    st.fixed_dictionaries({"epochs": st.integers(1, 12), "per_epoch": st.integers(1, 9)}),
    st.fixed_dictionaries({"iterations": st.integers(1, 90), "per_epoch": st.integers(1, 9)}),
)
shares = st.floats(0.01, 1)
minima = st.one_of(
    st.fixed_dictionaries({"min_lr": st.floats(0, 1e-3)}), st.fixed_dictionaries({"min_lr_ratio": st.floats(0, 1)})
)
annealed = st.sampled_from(["CosineAnnealing", "LinearAnnealing"]).map(lambda name: {"policy": name})
drawn_policies = st.one_of(
    st.tuples(annealed, minima).map(lambda parts: parts[0] | parts[1]),
    st.tuples(st.fixed_dictionaries({"start_percent": shares}), minima).map(
        lambda parts: {"policy": "FlatCosineAnnealing"} | parts[0] | parts[1]
    ),
    st.fixed_dictionaries(
        {"policy": st.just("step"), "step": st.lists(st.integers(1, 50), min_size=1), "gamma": shares}
    ),
    st.fixed_dictionaries({"policy": st.just("poly"), "power": st.floats(0, 3), "min_lr": st.floats(0, 1e-3)}),
    st.fixed_dictionaries(
        {
            "policy": st.just("cyclic"),
            "target_ratio": st.lists(st.floats(0.001, 10), min_size=2, max_size=2),
            "step_ratio_up": st.floats(0, 0.99),
            "gamma": shares,
        }
    ),
    st.fixed_dictionaries(
        {
            "policy": st.just("OneCycle"),
            "max_lr": st.floats(1e-5, 1),
            "pct_start": st.floats(0, 1),
            "three_phase": st.booleans(),
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
        }
    ),
)
drawn_warm_ups = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "warmup": st.sampled_from(["constant", "linear", "exp"]),
            "warmup_iters": st.integers(1, 30),
            "warmup_ratio": shares,
        }
    ),
)


@settings(max_examples=150, deadline=None)
@given(drawn_policies, drawn_warm_ups, lengths)
def test_learning_rates__equal_mmcv_for_any_settings(policy, warm_up, length):
    assert_equal_to_hook(policy | warm_up, **length)


MOMENTUM_POLICIES = [
    {"policy": "step", "step": [2, 3], "by_epoch": True},
    {"policy": "step", "step": 2, "gamma": 0.7, "min_momentum": 0.6},
    {"policy": "CosineAnnealing", "min_momentum": 0.5, "by_epoch": False},
    {"policy": "CosineAnnealing", "min_momentum_ratio": 0.5},
    {"policy": "LinearAnnealing", "min_momentum_ratio": 0.5, "by_epoch": False},
    {"policy": "cyclic"},
    {"policy": "cyclic", "target_ratio": [0.9, 0.5], "cyclic_times": 2, "step_ratio_up": 0.3, "gamma": 0.9},
    {"policy": "OneCycle"},
    {"policy": "OneCycle", "base_momentum": 0.7, "max_momentum": 0.9, "three_phase": True, "pct_start": 0.4},
]


@pytest.mark.parametrize("warm_up", [{}, {"warmup": "linear", "warmup_iters": 9}, WARM_UPS[4]], ids=str)
@pytest.mark.parametrize("policy", MOMENTUM_POLICIES, ids=str)
def test_momenta__equal_mmcv(policy, warm_up):
    config = policy | warm_up
    optimizer = sgd((0.1, 0.1), MOMENTA)
    schedule = MomentumSchedule(read(read_momentum, dict(config)), MOMENTA, iterations_per_epoch=7, epochs=5)
    for iteration in run_hook("momentum", as_tuples(config), optimizer, per_epoch=7, epochs=5):
        expected = [group["momentum"] for group in optimizer.param_groups]
        assert schedule.momenta(iteration) == pytest.approx(expected, rel=1e-12, abs=0), iteration


def unilm(**keys):
    return read(read_schedule, {"policy": "UnilmCosine", **keys})


def test_learning_rates__golden_values_of_unilm():
    config = unilm(min_lr=1e-5, warmup_iters=1, warmup_by_epoch=True)
    schedule = Schedule(config, [1.5e-3], iterations_per_epoch=10, epochs=4)
    golden = {0: 0.0, 1: 1.666667e-4, 9: 1.5e-3, 10: 1.5e-3, 11: 1.495919e-3, 25: 7.55e-4, 39: 1.408119e-5}
    assert {at: schedule.learning_rates(at)[0] for at in golden} == pytest.approx(golden, rel=1e-6)


def test_learning_rates__unilm_scales_the_whole_curve_of_a_level():
    config = unilm(min_lr=1e-6, warmup_iters=5)
    schedule = Schedule(config, [5e-4, 5e-4 * 0.6**13], iterations_per_epoch=10, epochs=4)
    for iteration in range(40):
        head, patches = schedule.learning_rates(iteration)
        assert patches == pytest.approx(head * 0.6**13, rel=1e-12)


def test_learning_rates__unilm_minimum_belongs_to_the_base():
    config = unilm(min_lr=0.1)
    schedule = Schedule(config, [2.0], iterations_per_epoch=1000, epochs=1, base_lr=1.0)
    assert schedule.learning_rates(999)[0] == pytest.approx(0.2, rel=1e-4)


@pytest.mark.parametrize("warmup_iters", [0, 1, 10])
def test_learning_rates__unilm_warm_up_of_any_length(warmup_iters):
    schedule = Schedule(unilm(min_lr=0, warmup_iters=warmup_iters), [1.0], iterations_per_epoch=10, epochs=1)
    rates = [schedule.learning_rates(iteration)[0] for iteration in range(10)]
    first = {0: 1.0, 1: 0.0, 10: 0.0}[warmup_iters]
    last = 1.0 if warmup_iters == 10 else (1 + math.cos(math.pi * (9 - warmup_iters) / (10 - warmup_iters))) / 2
    assert (rates[0], rates[-1]) == pytest.approx((first, last))


@pytest.mark.parametrize(
    ("config", "length", "message"),
    [
        ({"policy": "step", "step": 1, "by_epoch": True}, {"iterations": 9}, "by_epoch is true, but train.runner"),
        (
            {"policy": "CosineRestart", "periods": [2, 2], "restart_weights": [1, 1], "min_lr": 0},
            {"epochs": 5},
            "add up to 4.*5 epochs",
        ),
        ({"policy": "CosineAnnealingCooldown", "min_lr": 0}, {"epochs": 10}, "cool_down_time is 10.*epochs"),
        ({"policy": "cyclic", "cyclic_times": 30}, {"epochs": 2}, "cyclic_times is 30.*20 iterations"),
        ({"policy": "OneCycle", "max_lr": 1, "total_steps": 19}, {"epochs": 2}, "total_steps is 19.*20 iterations"),
        ({"policy": "UnilmCosine", "min_lr": 0, "warmup_iters": 21}, {"epochs": 2}, "takes 21 iterations.*has 20"),
    ],
)
def test_schedule__refuses_a_run_that_it_cannot_fill(config, length, message):
    with pytest.raises(SettingsError, match=message):
        Schedule(read(read_schedule, config), LRS, iterations_per_epoch=10, **length)


def test_schedule__tells_that_one_cycle_knows_no_factors(caplog):
    config = read(read_schedule, {"policy": "OneCycle", "max_lr": 1.0})
    Schedule(config, [1.0, 1.0], iterations_per_epoch=3, epochs=3)
    assert not caplog.messages
    Schedule(config, [1.0, 0.5], iterations_per_epoch=3, epochs=3)
    assert "paramwise_cfg" in caplog.text


def test_momentum_schedule__names_its_own_section():
    config = read(read_momentum, {"policy": "cyclic", "cyclic_times": 30})
    with pytest.raises(SettingsError, match=r"train\.momentum_config"):
        MomentumSchedule(config, MOMENTA, iterations_per_epoch=10, epochs=2)
