"""The value of a rate (learning rate or momentum) at a point of a run. Pure functions of plain numbers.

Formulas, and their order of operations, are those of mmcv 1.7.2 (runner/hooks/lr_updater.py, momentum_updater.py),
mmcls 0.25.0 (core/hook/lr_updater.py) and unilm/beit2 (utils.cosine_scheduler).
"""

import math
from bisect import bisect_right
from itertools import accumulate

from modelscope_beit.settings.rate_policies import (
    AnnealStrategy,
    CosineAnnealing,
    CosineCooldown,
    CosineRestart,
    Cyclic,
    Exponential,
    Fixed,
    FlatCosineAnnealing,
    Inverse,
    LinearAnnealing,
    OneCycle,
    Policy,
    Polynomial,
    Step,
    Target,
    UnilmCosine,
    WarmUp,
)


def rate_at(policy: Policy, initial: float, progress: int, length: int) -> float:
    """Returns the rate that a policy gives, without warm-up.

    initial: the group's rate at the start. progress: epoch or iteration, from 0 to length - 1. For UnilmCosine both
    count from the end of the warm-up.
    """
    match policy:
        case Fixed():
            return initial
        case Step():
            stepped = initial * policy.gamma ** _steps_done(policy.step, progress)
            return stepped if policy.minimum is None else max(stepped, policy.minimum)
        case Exponential():
            return initial * policy.gamma**progress
        case Polynomial():
            return (initial - policy.minimum) * (1 - progress / length) ** policy.power + policy.minimum
        case Inverse():
            return initial * (1 + policy.gamma * progress) ** -policy.power
        case CosineAnnealing() | UnilmCosine():
            return _cosine(initial, _end(policy.target, initial), progress / length)
        case LinearAnnealing():
            return _line(initial, _end(policy.target, initial), progress / length)
        case FlatCosineAnnealing():
            flat = round(length * policy.start_percent)
            if progress < flat:
                return initial
            return _cosine(initial, _end(policy.target, initial), (progress - flat) / (length - flat))
        case CosineRestart():
            return _restarted(policy, initial, progress)
        case CosineCooldown():
            end, annealed = _end(policy.target, initial), length - policy.cool_down_time
            return end * policy.cool_down_ratio if progress > annealed else _cosine(initial, end, progress / annealed)
        case Cyclic():
            return _cycled(policy, initial, progress, length)
        case OneCycle():
            return _one_cycle(policy, progress, length)


def warm_up_factor(warm_up: WarmUp, iteration: int, iterations: int) -> float:
    """Returns what a learning rate is multiplied by, and a momentum divided by, during warm-up.

    iteration: from 0 to iterations - 1; iterations: the warm-up's length.
    """
    remaining = 1 - iteration / iterations
    match warm_up.kind:
        case "constant":
            return warm_up.ratio
        case "linear":
            return 1 - remaining * (1 - warm_up.ratio)
        case "exp":
            factor: float = warm_up.ratio**remaining
            return factor
        case "from_zero":
            return iteration / (iterations - 1) if iterations > 1 else 0.0


def length_problem(policy: Policy, length: int, unit: str) -> str | None:
    """Returns why a policy cannot fill a run, as a clause; None: it can. unit: of the length, in the plural."""
    but = f"but the run has {length} {unit}"
    if isinstance(policy, CosineRestart) and sum(policy.periods) < length:
        return f"periods add up to {sum(policy.periods)}, {but}; add periods"
    if isinstance(policy, CosineCooldown) and policy.cool_down_time >= length:
        return f"cool_down_time is {policy.cool_down_time}, {but}; make it shorter"
    if isinstance(policy, Cyclic) and policy.cyclic_times > length:
        return f"cyclic_times is {policy.cyclic_times}, {but}; ask for fewer"
    if isinstance(policy, OneCycle) and policy.total_steps is not None and policy.total_steps < length:
        return f"total_steps is {policy.total_steps}, {but}; raise or remove it"
    return None


def _end(target: Target, initial: float) -> float:
    if target.ratio is not None:
        return initial * target.ratio
    assert target.value is not None, "a target has a value or a ratio"
    return target.value


def _cosine(start: float, end: float, share: float, weight: float = 1.0) -> float:
    return end + 0.5 * weight * (start - end) * (math.cos(math.pi * share) + 1)


def _line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _annealed(strategy: AnnealStrategy, start: float, end: float, share: float) -> float:
    return _cosine(start, end, share) if strategy == "cos" else _line(start, end, share)


def _steps_done(step: int | tuple[int, ...], progress: int) -> int:
    if isinstance(step, int):
        return progress // step
    return next((index for index, at in enumerate(step) if progress < at), len(step))


def _restarted(policy: CosineRestart, initial: float, progress: int) -> float:
    ends = list(accumulate(policy.periods))
    index = bisect_right(ends, progress)
    begin = ends[index] - policy.periods[index]
    share = (progress - begin) / policy.periods[index]
    return _cosine(initial, _end(policy.target, initial), share, policy.restart_weights[index])


def _cycled(policy: Cyclic, initial: float, progress: int, length: int) -> float:
    per_cycle = length // policy.cyclic_times
    cycle, position = divmod(progress, per_cycle)
    rising = int(policy.step_ratio_up * per_cycle)
    height = policy.gamma**cycle
    high, low = policy.target_ratio
    if position < rising:
        start, end, share = 1.0, 1 - height + high * height, position / rising
    elif rising == 0:
        # mmcv takes a phase that begins at 0 for the rising one.
        start, end, share = high, 1 - height + low * height, position / per_cycle
    else:
        start, end, share = 1 - height + high * height, low, (position - rising) / (per_cycle - rising)
    return _annealed(policy.anneal_strategy, initial * start, initial * end, share)


def _one_cycle(policy: OneCycle, progress: int, length: int) -> float:
    total = policy.total_steps or length
    ends: list[float] = [policy.pct_start * total - 1, total - 1]
    rates = [policy.start, policy.peak, policy.end]
    if policy.three_phase:
        ends.insert(1, 2 * policy.pct_start * total - 2)
        rates.insert(2, policy.start)
    phase = next((number for number, end in enumerate(ends) if progress <= end), len(ends) - 1)
    begin = ends[phase - 1] if phase else 0
    # A phase without extent, where mmcv divides by zero, is at its end.
    share = (progress - begin) / (ends[phase] - begin) if ends[phase] != begin else 1.0
    return _annealed(policy.anneal_strategy, rates[phase], rates[phase + 1], share)
