"""Formulas against torch's own schedulers and against values worked out by hand; against mmcv: test_schedule.py."""

import pytest
import torch
from torch.optim import lr_scheduler

import helpers
from modelscope_beit.settings import rate_policies as policies
from modelscope_beit.settings.rate_policies import Target, WarmUp
from modelscope_beit.training.rate_policies import length_problem, rate_at, warm_up_factor

BASE = 0.03
LENGTH = 40


def torch_rates(name, **arguments):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    scheduler = getattr(lr_scheduler, name)(optimizer, **arguments)
    rates = []
    for _ in range(LENGTH):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("policy", "name", "arguments"),
    [
        (policies.Fixed(), "ConstantLR", {"factor": 1}),
        (policies.Step(7, 0.3), "StepLR", {"step_size": 7, "gamma": 0.3}),
        (policies.Step((4, 9, 30), 0.5), "MultiStepLR", {"milestones": [4, 9, 30], "gamma": 0.5}),
        (policies.Exponential(0.9), "ExponentialLR", {"gamma": 0.9}),
        (policies.Polynomial(2.0), "PolynomialLR", {"total_iters": LENGTH, "power": 2.0}),
        (policies.Inverse(0.5, 2.0), "LambdaLR", {"lr_lambda": lambda step: 1 / (1 + 0.5 * step) ** 2}),
        (policies.LinearAnnealing(Target(ratio=0.1)), "LinearLR", {"start_factor": 1, "end_factor": 0.1}),
        (policies.CosineAnnealing(Target(value=1e-4)), "CosineAnnealingLR", {"T_max": LENGTH, "eta_min": 1e-4}),
        (policies.UnilmCosine(Target(value=1e-4)), "CosineAnnealingLR", {"T_max": LENGTH, "eta_min": 1e-4}),
        (
            policies.CosineRestart(Target(value=1e-4), (10, 20, 40), (1.0, 1.0, 1.0)),
            "CosineAnnealingWarmRestarts",
            {"T_0": 10, "T_mult": 2, "eta_min": 1e-4},
        ),
        (
            policies.OneCycle(0.2 / 10, 0.2, 0.2 / 1000, three_phase=True),
            "OneCycleLR",
            {"max_lr": 0.2, "total_steps": 41, "div_factor": 10, "final_div_factor": 100, "three_phase": True},
        ),
    ],
    ids=helpers.short_id,
)
def test_rate_at__equals_torch(policy, name, arguments):
    arguments = {"total_iters": LENGTH} | arguments if name in ("ConstantLR", "LinearLR") else arguments
    # torch takes one step more than there are iterations, and its cycle has to be that long.
    length = 41 if name == "OneCycleLR" else LENGTH
    ours = [rate_at(policy, BASE, step, length) for step in range(LENGTH)]
    assert ours == pytest.approx(torch_rates(name, **arguments), rel=1e-9)


def test_rate_at__step_stops_at_the_minimum():
    policy = policies.Step(1, 0.1, minimum=2e-3)
    assert [rate_at(policy, 1.0, step, 9) for step in range(5)] == pytest.approx([1, 0.1, 0.01, 2e-3, 2e-3])


def test_rate_at__flat_then_cosine():
    policy = policies.FlatCosineAnnealing(Target(value=0.0), start_percent=0.5)
    rates = [rate_at(policy, 2.0, step, 8) for step in range(8)]
    assert rates[:5] == [2.0] * 5
    assert rates[6] == pytest.approx(1.0)


def test_rate_at__cool_down_comes_after_the_end():
    policy = policies.CosineCooldown(Target(value=0.5), cool_down_ratio=0.1, cool_down_time=4)
    rates = [rate_at(policy, 1.0, step, 10) for step in range(10)]
    assert rates[3] == pytest.approx(0.75)
    assert rates[6:] == pytest.approx([0.5, 0.05, 0.05, 0.05])


def test_rate_at__cycles_get_lower():
    policy = policies.Cyclic((3.0, 0.5), cyclic_times=2, step_ratio_up=0.5, anneal_strategy="linear", gamma=0.5)
    rates = [rate_at(policy, 1.0, step, 16) for step in range(16)]
    assert rates[:8] == pytest.approx([1, 1.5, 2, 2.5, 3, 2.375, 1.75, 1.125])
    assert (rates[8], rates[12]) == pytest.approx((1, 2))


def test_rate_at__one_cycle_without_a_rise_begins_at_the_peak():
    policy = policies.OneCycle(0.1, 1.0, 0.0, pct_start=0.1, anneal_strategy="linear")
    assert rate_at(policy, BASE, 0, 10) == 1.0
    assert rate_at(policy, BASE, 9, 10) == 0.0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.2, 0.2, 0.2, 0.2]),
        ("linear", [0.2, 0.4, 0.6, 0.8]),
        ("exp", [0.2, 0.2**0.75, 0.2**0.5, 0.2**0.25]),
        ("from_zero", [0, 1 / 3, 2 / 3, 1]),
    ],
)
def test_warm_up_factor__four_iterations(kind, expected):
    warm_up = WarmUp(kind, 4, 0.2)
    assert [warm_up_factor(warm_up, iteration, 4) for iteration in range(4)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("policy", "length", "problem"),
    [
        (policies.Fixed(), 1, None),
        (policies.CosineRestart(Target(0.0), (3, 4), (1.0, 1.0)), 7, None),
        (policies.CosineRestart(Target(0.0), (3, 4), (1.0, 1.0)), 8, "periods add up to 7, but the run has 8 epochs"),
        (policies.CosineCooldown(Target(0.0), cool_down_time=5), 6, None),
        (policies.CosineCooldown(Target(0.0), cool_down_time=5), 5, "cool_down_time is 5"),
        (policies.Cyclic((2.0, 1.0), cyclic_times=3), 2, "cyclic_times is 3"),
        (policies.OneCycle(0.1, 1.0, 0.0, total_steps=9), 9, None),
        (policies.OneCycle(0.1, 1.0, 0.0, total_steps=9), 10, "total_steps is 9"),
    ],
)
def test_length_problem__what_a_policy_cannot_fill(policy, length, problem):
    found = length_problem(policy, length, "epochs")
    assert (found or "").startswith(problem) if problem else found is None
