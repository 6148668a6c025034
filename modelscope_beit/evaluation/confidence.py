"""How sure a share is: a percentile bootstrap interval over the pictures, or Wilson's."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A share of pictures, 0 to 1, and the bounds between which it lies with CONFIDENCE."""

    value: float
    low: float
    high: float


def share_interval(hits: np.ndarray) -> Interval:
    """Returns the share of hits with its percentile bootstrap interval (Efron 1979), the same at every call.

    hits: (N,) bool, one per picture. Drawing N of N zeros and ones with replacement and counting the ones is a draw
    from Binomial(N, share), so the RESAMPLES counts are drawn at once, at no cost that depends on N.
    Raises ValueError without a picture.
    """
    if not hits.size:
        raise ValueError("A share of no picture has no interval; at least one picture is expected.")
    share = float(hits.mean())
    shares = np.random.default_rng(SEED).binomial(hits.size, share, RESAMPLES) / hits.size
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(shares, [tail, 100 - tail])
    return Interval(share, float(low), float(high))


def bound_without_spread(pictures: int) -> float:
    """Returns how far from 0 or 1 a share may be, with CONFIDENCE, when all N pictures were alike.

    Resampling equal outcomes shows no spread, which does not mean that there is none. A share p of mistakes shows none
    in N pictures with the probability (1 - p)^N; the bound is the p that makes it 1 - CONFIDENCE (about 3 / N).
    """
    return float(1 - (1 - CONFIDENCE) ** (1 / pictures))


def wilson_interval(hits: int, pictures: int) -> Interval:
    """Returns the share of hits among N pictures with its score interval, which is right near 0 and 1 too.

    Raises ValueError without a picture. Source: Wilson 1927, Probable Inference.
    """
    if pictures < 1:
        raise ValueError("A share of no picture has no interval; at least one picture is expected.")
    z, share = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), hits / pictures
    middle = (share + z**2 / (2 * pictures)) / (1 + z**2 / pictures)
    spread = z / (1 + z**2 / pictures) * math.sqrt(share * (1 - share) / pictures + (z / (2 * pictures)) ** 2)
    return Interval(share, max(0.0, middle - spread), min(1.0, middle + spread))
