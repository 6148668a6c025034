"""The order in which an epoch draws its rows: a function of the seed and the epoch, of nothing else."""

from typing import Literal

import numpy as np

from modelscope_beit.data.records import Records
from modelscope_beit.errors import SettingsError

Order = Literal["shuffled", "class_balanced", "repeated"]

# Keeps these random numbers apart from those of the pictures, made of (seed, epoch, row, occurrence).
_ORDER = 1 << 62
# As in DeiT and in mmcls's RepeatAugSampler.
_REPEATS = 3


def epoch_order(records: Records, *, seed: int, epoch: int, order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows in their order, (N,) int64, and how often each was drawn before in this epoch, (N,) int64.

    order: "shuffled": each row once. "class_balanced": as many rows, each class equally often (but for one); rows of
        large classes may wait for another epoch, rows of small ones repeat, as evenly as can be. "repeated": as many
        rows, a third of them drawn, each three times in a row; to be augmented differently (arXiv 1901.09335).
    Raises SettingsError if multi-label data are to be balanced.
    """
    rng = np.random.default_rng((seed, epoch, _ORDER))
    if order == "shuffled":
        return rng.permutation(len(records)), np.zeros(len(records), np.int64)
    if order == "repeated":
        drawn_rows = np.repeat(rng.permutation(len(records)), _REPEATS)[: len(records)]
        return drawn_rows, np.arange(len(records)) % _REPEATS
    if records.is_multi_label:
        raise SettingsError(
            f"{records.description}: pictures with several classes cannot be drawn class by class; leave out the "
            "class-balanced sampler (train.sampler), or weight the loss."
        )
    by_class = np.split(np.argsort(records.labels(), kind="stable"), np.cumsum(records.class_counts())[:-1])
    members = [rows for rows in by_class if len(rows)]
    quotas = np.full(len(members), len(records) // len(members))
    quotas[rng.permutation(len(members))[: len(records) % len(members)]] += 1
    drawn, occurrences = [], []
    for rows, quota in zip(members, quotas.tolist(), strict=True):
        rounds = -(-quota // len(rows))
        drawn.append(np.concatenate([rng.permutation(rows) for _ in range(rounds)] or [rows[:0]])[:quota])
        occurrences.append(np.repeat(np.arange(rounds), len(rows))[:quota])
    places = rng.permutation(len(records))
    return np.concatenate(drawn)[places], np.concatenate(occurrences)[places]
