"""Learning rates and momenta over a run, as functions of the iteration. No torch.

Source: mmcv 1.7.2, runner/hooks/lr_updater.py and momentum_updater.py; for UnilmCosine unilm/beit2,
utils.cosine_scheduler. An iteration is one batch of the loader.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.rate_policies import OneCycle, Policy, Target, UnilmCosine
from modelscope_beit.settings.schedule import MomentumSettings, ScheduleSettings
from modelscope_beit.training.rate_policies import length_problem, rate_at, warm_up_factor

logger = logging.getLogger(__name__)


class Schedule:
    """The learning rates of a run.

    initial_lrs: one a parameter group, as the optimizer was made. iterations_per_epoch: batches of the loader.
    Exactly one of epochs (EpochBasedRunner) and iterations (IterBasedRunner) says how long the run is.
    base_lr: the optimizer's learning rate before any factor, to which the min_lr of UnilmCosine belongs; None: the
    greatest initial one. Raises SettingsError if the settings cannot fill this run.
    """

    def __init__(
        self,
        settings: ScheduleSettings,
        initial_lrs: Sequence[float],
        *,
        iterations_per_epoch: int,
        epochs: int | None = None,
        iterations: int | None = None,
        base_lr: float | None = None,
    ) -> None:
        self._initial_lrs = tuple(initial_lrs)
        if isinstance(settings.policy, OneCycle) and len(set(self._initial_lrs)) > 1:
            logger.warning(
                "train.lr_config.policy OneCycle gives all parameters the same learning rate, as in mmcv: factors "
                "on it, of train.optimizer.paramwise_cfg or layer-wise decay, have no effect."
            )
        if isinstance(settings.policy, UnilmCosine):
            base = max(self._initial_lrs) if base_lr is None else base_lr
            settings = replace(settings, policy=_relative(settings.policy, base))
        self._course = _Course(settings, "train.lr_config", iterations_per_epoch, epochs, iterations)

    def learning_rates(self, iteration: int) -> list[float]:
        """Returns the learning rate of each group in an iteration, from 0; in mmcv that of `before_train_iter`."""
        factor = self._course.warm_up_factor(iteration)
        return [self._course.rate(initial, iteration) * factor for initial in self._initial_lrs]


class MomentumSchedule:
    """The momenta of a run.

    initial_momenta: one a parameter group, as the optimizer was made. The other arguments are those of Schedule.
    """

    def __init__(
        self,
        settings: MomentumSettings,
        initial_momenta: Sequence[float],
        *,
        iterations_per_epoch: int,
        epochs: int | None = None,
        iterations: int | None = None,
    ) -> None:
        self._initial_momenta = tuple(initial_momenta)
        self._course = _Course(settings, "train.momentum_config", iterations_per_epoch, epochs, iterations)

    def momenta(self, iteration: int) -> list[float]:
        """Returns the momentum of each group in an iteration, from 0."""
        factor = self._course.warm_up_factor(iteration)
        return [self._course.rate(initial, iteration) / factor for initial in self._initial_momenta]


class _Course:
    """A policy and its warm-up over a run of known length."""

    def __init__(
        self, settings: ScheduleSettings, path: str, per_epoch: int, epochs: int | None, iterations: int | None
    ) -> None:
        assert (epochs is None) != (iterations is None), "exactly one of epochs and iterations says how long the run is"
        if settings.by_epoch and epochs is None:
            raise SettingsError(
                f"{path}.by_epoch is true, but train.runner counts iterations, so there are no epochs to go by "
                "(mmcv would never change the rate). Set by_epoch to false and give steps and periods in iterations."
            )
        total = iterations if epochs is None else epochs * per_epoch
        assert total is not None
        self._policy: Policy = settings.policy
        self._warm_up = settings.warm_up
        self._warm_up_iterations = 0
        if settings.warm_up is not None:
            self._warm_up_iterations = settings.warm_up.length * (per_epoch if settings.warm_up.by_epoch else 1)
        # UnilmCosine begins where its warm-up ends.
        self._start = self._warm_up_iterations if isinstance(settings.policy, UnilmCosine) else 0
        by_epoch = epochs is not None and settings.by_epoch in (True, None)
        self._iterations_per_count = per_epoch if by_epoch else 1
        unit = "epochs" if by_epoch else "iterations"
        if self._start > total:
            raise SettingsError(
                f"{path}.warmup_iters: the warm-up takes {self._start} iterations, but the run has {total}; shorten it."
            )
        self._length = max(total // self._iterations_per_count - self._start, 1)
        if problem := length_problem(settings.policy, self._length, unit):
            raise SettingsError(f"{path}: {problem}.")

    def rate(self, initial: float, iteration: int) -> float:
        """Returns the rate without warm-up."""
        progress = max(iteration - self._start, 0) // self._iterations_per_count
        return rate_at(self._policy, initial, progress, self._length)

    def warm_up_factor(self, iteration: int) -> float:
        """Returns the warm-up's factor; 1 when it is over."""
        if self._warm_up is None or iteration >= self._warm_up_iterations:
            return 1.0
        return warm_up_factor(self._warm_up, iteration, self._warm_up_iterations)


def _relative(policy: UnilmCosine, base: float) -> UnilmCosine:
    """Returns the policy with its target as a share, so that each group ends in proportion."""
    if policy.target.value is None or base == 0:
        return policy
    return UnilmCosine(Target(ratio=policy.target.value / base))
