"""The Wilson interval of a share, for a card: unlike a bootstrap it is never empty at 0 % and 100 %."""

import math

CONFIDENCE = 0.95
_Z = 1.959963984540054  # The 97.5 % quantile of the normal distribution.


def wilson_interval(hits: int, pictures: int) -> tuple[float, float]:
    """Returns the bounds, from 0 to 1, between which the share hits / pictures lies with CONFIDENCE.

    Raises ValueError unless 0 <= hits <= pictures and there is a picture. Source: Wilson (1927), JASA 22, 209-212.
    """
    if not 0 <= hits <= pictures or pictures == 0:
        raise ValueError(f"Expected 0 <= hits <= pictures and at least one picture, got {hits} of {pictures}.")
    share, spread = hits / pictures, _Z**2 / pictures
    middle = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / pictures + spread / (4 * pictures))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
