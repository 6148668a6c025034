"""`train.lr_config` and `train.momentum_config`: names, keys and defaults of mmcv 1.7.2's updater hooks.

Also mmcls 0.25's CosineAnnealingCooldown and, for BEiT v2's own recipes, unilm's schedule as policy 'UnilmCosine'.
Standard library only; what comes of it: training/schedule.py.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from modelscope_beit.settings import rate_policies as policies
from modelscope_beit.settings.intervals import (
    ANY,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_SHARE,
    SHARE,
    Interval,
    count_from,
    is_count,
    is_number_in,
    number_in,
    optional_number_in,
)
from modelscope_beit.settings.problems import Section
from modelscope_beit.settings.rate_policies import AnnealStrategy, Fixed, Policy, Target, WarmUp, WarmUpKind

_WARM_UPS = ("constant", "linear", "exp")


@dataclass(frozen=True)
class ScheduleSettings:
    """How learning rates go over a run.

    by_epoch: the policy counts epochs; None: it counts what the run is measured in. The warm-up always goes
    iteration by iteration.
    """

    policy: Policy = field(default_factory=Fixed)
    by_epoch: bool | None = None
    warm_up: WarmUp | None = None


class MomentumSettings(ScheduleSettings):
    """How momenta go over a run; the warm-up divides them."""


@dataclass(frozen=True)
class _Words:
    """What differs between lr_config and momentum_config.

    suffix: how mmcv's class names go on after the policy's. unit: "lr" in "min_lr"; limits: the rates that there are.
    step_gamma, target_ratio: defaults. readers: policy -> how its keys are read.
    """

    suffix: str
    unit: str
    limits: Interval
    step_gamma: float
    target_ratio: tuple[float, float]
    readers: Mapping[str, Callable[[Section, "_Words"], Policy]]


def read_schedule(section: Section) -> ScheduleSettings:
    """Returns the schedule that an `lr_config` describes; what is wrong goes to the section's problems."""
    policy = _read_policy(section, _LR)
    by_epoch = _read_by_epoch(section, policy)
    in_epochs = section.flag("warmup_by_epoch", False)
    if isinstance(policy, policies.UnilmCosine):
        warm_up = _read_unilm_warm_up(section, in_epochs=in_epochs)
    else:
        warm_up = _read_warm_up(section, 0.1, in_epochs=in_epochs)
    section.note_unknown_keys()
    return ScheduleSettings(policy, by_epoch, warm_up)


def read_momentum(section: Section) -> MomentumSettings:
    """Returns what a `momentum_config` describes; what is wrong goes to the section's problems."""
    policy = _read_policy(section, _MOMENTUM)
    by_epoch = _read_by_epoch(section, policy)
    settings = MomentumSettings(policy, by_epoch, _read_warm_up(section, 0.9, in_epochs=False))
    section.note_unknown_keys()
    return settings


def _read_policy(section: Section, words: _Words) -> Policy:
    """Reads `policy`, or `type` as mmcv's hooks are called: 'step', 'StepLrUpdaterHook' and so on, in any case."""
    key = "policy" if "policy" in section.mapping or "type" not in section.mapping else "type"
    name = str(section.get(key)).lower().removesuffix("hook").removesuffix(words.suffix)
    if name in words.readers:
        return words.readers[name](section, words)
    nearest = difflib.get_close_matches(name, words.readers, n=1)
    section.wrong(key, f"did you mean {nearest[0]}?" if nearest else f"expected: {', '.join(words.readers)}")
    # What else is there belongs to a policy that nobody knows.
    for other in section.mapping:
        section.get(other)
    return Fixed()


def _read_by_epoch(section: Section, policy: Policy) -> bool | None:
    counts_iterations = isinstance(policy, policies.Cyclic | policies.OneCycle | policies.UnilmCosine)
    if section.get("by_epoch") is None:
        return False if counts_iterations else None
    by_epoch = section.flag("by_epoch", not counts_iterations)
    if by_epoch and counts_iterations:
        section.wrong("by_epoch", "this policy counts iterations; set it to false or remove it")
    return by_epoch


def _read_warm_up(section: Section, default_ratio: float, *, in_epochs: bool) -> WarmUp | None:
    kind = section.get("warmup")
    if kind is None:
        # They mean nothing then, but configurations keep them.
        section.get("warmup_iters")
        section.get("warmup_ratio")
        return None
    if kind not in _WARM_UPS:
        section.wrong("warmup", f"expected: {', '.join(_WARM_UPS)} or null")
        kind = "linear"
    length = section.get("warmup_iters")
    if not is_count(length, 1):
        section.wrong("warmup_iters", "a whole number of 1 or more is expected, or warmup=null")
        length = 1
    ratio = number_in(section, "warmup_ratio", default_ratio, POSITIVE_SHARE)
    return WarmUp(cast(WarmUpKind, kind), length, ratio, in_epochs)


def _read_unilm_warm_up(section: Section, *, in_epochs: bool) -> WarmUp | None:
    if section.get("warmup") not in (None, "linear"):
        section.wrong("warmup", "UnilmCosine rises linearly; remove it")
    if section.get("warmup_ratio") is not None:
        section.wrong("warmup_ratio", "UnilmCosine rises from 0; remove it")
    length = count_from(section, "warmup_iters", 0, 0)
    return WarmUp("from_zero", length, 0.0, in_epochs) if length else None


def _read_step(section: Section, words: _Words) -> Policy:
    step = section.get("step")
    steps = tuple(_listed(step))
    if not steps or not all(is_count(at, 1) for at in steps):
        section.wrong("step", "a whole number of 1 or more, or a list of such, is expected")
        steps = (1,)
    return policies.Step(
        steps[0] if isinstance(step, int) else steps,
        number_in(section, "gamma", words.step_gamma, NOT_NEGATIVE),
        optional_number_in(section, f"min_{words.unit}", words.limits),
    )


def _read_target(section: Section, words: _Words) -> Target:
    value_name, ratio_name = f"min_{words.unit}", f"min_{words.unit}_ratio"
    value, ratio = section.get(value_name), section.get(ratio_name)
    if (value is None) == (ratio is None):
        section.wrong(value_name, f"exactly one of {value_name} and {ratio_name} is expected")
        return Target(value=0.0)
    return Target(
        optional_number_in(section, value_name, words.limits), optional_number_in(section, ratio_name, NOT_NEGATIVE)
    )


def _read_restarts(section: Section, words: _Words) -> Policy:
    periods, weights = _listed(section.get("periods")), _listed(section.get("restart_weights", 1))
    if not periods or not all(is_count(period, 1) for period in periods):
        section.wrong("periods", "a list of whole numbers of 1 or more is expected")
        periods, weights = [1], [1]
    if len(weights) != len(periods) or not all(is_number_in(weight, NOT_NEGATIVE) for weight in weights):
        section.wrong("restart_weights", f"a list of {len(periods)} numbers is expected, one for each of periods")
        weights = [1] * len(periods)
    return policies.CosineRestart(_read_target(section, words), tuple(periods), tuple(weights))


def _read_cyclic(section: Section, words: _Words) -> Policy:
    ratios = _listed(section.get("target_ratio", words.target_ratio))
    if len(ratios) not in (1, 2) or not all(is_number_in(ratio, NOT_NEGATIVE) for ratio in ratios):
        section.wrong("target_ratio", "one number or two (the highest and the last) are expected")
        ratios = list(words.target_ratio)
    return policies.Cyclic(
        (ratios[0], ratios[1] if len(ratios) == 2 else ratios[0] / 1e5),
        count_from(section, "cyclic_times", 1, 1),
        number_in(section, "step_ratio_up", 0.4, BELOW_ONE),
        _read_strategy(section),
        number_in(section, "gamma", 1.0, POSITIVE_SHARE),
    )


def _read_one_cycle_lr(section: Section, words: _Words) -> Policy:
    div_factor = number_in(section, "div_factor", 25.0, POSITIVE)
    start = _one_for_all(section, "max_lr", None, words) / div_factor
    has_total = section.get("total_steps") is not None
    return policies.OneCycle(
        start,
        # Multiplied as in mmcv, so that the last digits are the same.
        peak=start * div_factor,
        end=start * (1 / number_in(section, "final_div_factor", 1e4, POSITIVE)),
        total_steps=count_from(section, "total_steps", 1, 1) if has_total else None,
        pct_start=number_in(section, "pct_start", 0.3, SHARE),
        anneal_strategy=_read_strategy(section),
        three_phase=section.flag("three_phase", False),
    )


def _read_one_cycle_momentum(section: Section, words: _Words) -> Policy:
    highest = _one_for_all(section, "max_momentum", 0.95, words)
    return policies.OneCycle(
        start=highest,
        peak=_one_for_all(section, "base_momentum", 0.85, words),
        end=highest,
        pct_start=number_in(section, "pct_start", 0.3, SHARE),
        anneal_strategy=_read_strategy(section),
        three_phase=section.flag("three_phase", False),
    )


def _one_for_all(section: Section, name: str, default: float | None, words: _Words) -> float:
    """Reads a number, which mmcv also takes as a list with one for each of its parameter groups."""
    values = _listed(section.get(name, default))
    if values and is_number_in(values[0], words.limits) and values.count(values[0]) == len(values):
        return float(values[0])
    section.wrong(name, f"{words.limits.words}, the same for all parameters, is expected")
    return 1.0 if default is None else default


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _read_strategy(section: Section) -> AnnealStrategy:
    strategy = section.get("anneal_strategy", "cos")
    if strategy not in ("cos", "linear"):
        section.wrong("anneal_strategy", "'cos' or 'linear' is expected")
    return "linear" if strategy == "linear" else "cos"


_SHARED_READERS: dict[str, Callable[[Section, _Words], Policy]] = {
    "step": _read_step,
    "cosineannealing": lambda section, words: policies.CosineAnnealing(_read_target(section, words)),
    "linearannealing": lambda section, words: policies.LinearAnnealing(_read_target(section, words)),
    "cyclic": _read_cyclic,
}
_LR_READERS: dict[str, Callable[[Section, _Words], Policy]] = _SHARED_READERS | {
    "onecycle": _read_one_cycle_lr,
    "fixed": lambda section, words: Fixed(),
    "exp": lambda section, words: policies.Exponential(number_in(section, "gamma", None, NOT_NEGATIVE)),
    "poly": lambda section, words: policies.Polynomial(
        number_in(section, "power", 1.0, NOT_NEGATIVE), number_in(section, "min_lr", 0.0, NOT_NEGATIVE)
    ),
    "inv": lambda section, words: policies.Inverse(
        number_in(section, "gamma", None, NOT_NEGATIVE), number_in(section, "power", 1.0, ANY)
    ),
    "flatcosineannealing": lambda section, words: policies.FlatCosineAnnealing(
        _read_target(section, words), number_in(section, "start_percent", 0.75, SHARE)
    ),
    "cosinerestart": _read_restarts,
    "cosineannealingcooldown": lambda section, words: policies.CosineCooldown(
        _read_target(section, words),
        number_in(section, "cool_down_ratio", 0.1, NOT_NEGATIVE),
        count_from(section, "cool_down_time", 10, 0),
    ),
    "unilmcosine": lambda section, words: policies.UnilmCosine(_read_target(section, words)),
}
_MOMENTUM_READERS = _SHARED_READERS | {"onecycle": _read_one_cycle_momentum}
_LR = _Words("lrupdater", "lr", NOT_NEGATIVE, 0.1, (10.0, 1e-4), _LR_READERS)
_MOMENTUM = _Words("momentumupdater", "momentum", BELOW_ONE, 0.5, (0.85 / 0.95, 1.0), _MOMENTUM_READERS)
