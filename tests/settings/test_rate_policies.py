"""The defaults of the policies against the signatures of mmcv's and mmcls's hooks."""

import inspect

import pytest

from modelscope_beit.settings import rate_policies as policies


@pytest.mark.parametrize(
    ("policy", "hook", "names"),
    [
        (policies.Polynomial, "PolyLrUpdaterHook", {"power": "power", "minimum": "min_lr"}),
        (policies.Inverse, "InvLrUpdaterHook", {"power": "power"}),
        (policies.FlatCosineAnnealing, "FlatCosineAnnealingLrUpdaterHook", {"start_percent": "start_percent"}),
        (
            policies.CosineCooldown,
            "CosineAnnealingCooldownLrUpdaterHook",
            {"cool_down_ratio": "cool_down_ratio", "cool_down_time": "cool_down_time"},
        ),
        (
            policies.Cyclic,
            "CyclicLrUpdaterHook",
            {name: name for name in ("cyclic_times", "step_ratio_up", "anneal_strategy", "gamma")},
        ),
        (
            policies.OneCycle,
            "OneCycleLrUpdaterHook",
            {name: name for name in ("pct_start", "anneal_strategy", "three_phase", "total_steps")},
        ),
        (policies.WarmUp, "LrUpdaterHook", {"ratio": "warmup_ratio", "by_epoch": "warmup_by_epoch"}),
    ],
)
def test_defaults__are_those_of_mm(policy, hook, names):
    hooks = pytest.importorskip("mmcv.runner.hooks", reason="mmcv is the oracle")
    pytest.importorskip("mmcls.core", reason="mmcls has the hook with a cool-down")
    kind = hooks.HOOKS.get(hook) or getattr(hooks, hook)
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    ours = {name: parameter.default for name, parameter in inspect.signature(policy).parameters.items()}
    assert {name: ours[name] for name in names} == {name: defaults[theirs] for name, theirs in names.items()}
