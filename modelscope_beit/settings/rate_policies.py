"""How a rate (learning rate or momentum) goes over a run: the policies of mmcv 1.7.2, mmcls 0.25 and unilm.

Plain values; "progress" is the number of the epoch or iteration, from 0, "length" is how many there are. What they
compute: training/rate_policies.py.
"""

from dataclasses import dataclass
from typing import Literal

AnnealStrategy = Literal["cos", "linear"]
WarmUpKind = Literal["constant", "linear", "exp", "from_zero"]


@dataclass(frozen=True)
class Target:
    """Where annealing ends: an absolute value, or a share of the initial one. Exactly one is set."""

    value: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Fixed:
    """The initial rate."""


@dataclass(frozen=True)
class Step:
    """Times gamma after every `step`, or at each of its members; never below `minimum`."""

    step: int | tuple[int, ...]
    gamma: float
    minimum: float | None = None


@dataclass(frozen=True)
class Exponential:
    """Times gamma ** progress."""

    gamma: float


@dataclass(frozen=True)
class Polynomial:
    """From the initial rate to `minimum`, by (1 - progress / length) ** power."""

    power: float = 1.0
    minimum: float = 0.0


@dataclass(frozen=True)
class Inverse:
    """Times (1 + gamma * progress) ** -power."""

    gamma: float
    power: float = 1.0


@dataclass(frozen=True)
class CosineAnnealing:
    """Half a cosine, from the initial rate to the target."""

    target: Target


@dataclass(frozen=True)
class LinearAnnealing:
    """A line, from the initial rate to the target."""

    target: Target


@dataclass(frozen=True)
class FlatCosineAnnealing:
    """The initial rate for the share `start_percent` of the run, then half a cosine to the target."""

    target: Target
    start_percent: float = 0.75


@dataclass(frozen=True)
class CosineRestart:
    """Half a cosine in each period; restart_weights: where each begins, as a share of the initial rate."""

    target: Target
    periods: tuple[int, ...]
    restart_weights: tuple[float, ...]


@dataclass(frozen=True)
class CosineCooldown:
    """Half a cosine to the target, then, for the last cool_down_time - 1, the target times cool_down_ratio."""

    target: Target
    cool_down_ratio: float = 0.1
    cool_down_time: int = 10


@dataclass(frozen=True)
class Cyclic:
    """Up to target_ratio[0] times the initial rate and on to target_ratio[1] times it, cyclic_times over.

    step_ratio_up: share of the cycle that the first part takes. gamma: factor on the height, cycle by cycle.
    """

    target_ratio: tuple[float, float]
    cyclic_times: int = 1
    step_ratio_up: float = 0.4
    anneal_strategy: AnnealStrategy = "cos"
    gamma: float = 1.0


@dataclass(frozen=True)
class OneCycle:
    """From start to peak in the share pct_start of the run, and on to end; three_phase: back to start in between.

    The initial rate does not count. total_steps: the length that is meant; None: the run's.
    """

    start: float
    peak: float
    end: float
    pct_start: float = 0.3
    anneal_strategy: AnnealStrategy = "cos"
    three_phase: bool = False
    total_steps: int | None = None


@dataclass(frozen=True)
class UnilmCosine:
    """unilm's schedule: a warm-up from 0, then half a cosine over the rest of the run.

    The target belongs to the undiminished learning rate; a group with a smaller one ends in proportion.
    """

    target: Target


Policy = (
    Fixed
    | Step
    | Exponential
    | Polynomial
    | Inverse
    | CosineAnnealing
    | LinearAnnealing
    | FlatCosineAnnealing
    | CosineRestart
    | CosineCooldown
    | Cyclic
    | OneCycle
    | UnilmCosine
)


@dataclass(frozen=True)
class WarmUp:
    """The first iterations of a run.

    kind: how the rate comes up to the policy's: "constant", "linear" and "exp" begin at `ratio` of it, as in mmcv;
    "from_zero" rises linearly from 0 and reaches it in the last iteration, as in unilm.
    length: in iterations, or in epochs with by_epoch.
    """

    kind: WarmUpKind
    length: int
    ratio: float = 0.1
    by_epoch: bool = False
