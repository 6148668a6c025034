"""What an exported file answers, beside what its network answers in float32."""

from dataclasses import dataclass

import numpy as np

from modelscope_beit.export.golden import Golden
from modelscope_beit.export.runtimes import Session, runtime_version

# Largest difference of a logit, in standard deviations of all logits. Float32 differs by rounding in another order
# (2e-5 seen; GELU's usual approximation by 2e-4), float16 by 1e-3 to 1e-2, 8 bits by 0.1; products of 8 bits that
# overflow by 0.3 and more.
SHARES = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.25}
LEAST_AGREEMENT = 0.9

# Sizes of batches, so that one picture and several are tried; the rest is one batch.
_FIRST_BATCHES = (1, 3)


@dataclass(frozen=True)
class Limits:
    """What is let pass: the largest difference of a logit, and the smallest share of equal best classes."""

    tolerance: float
    least_agreement: float


@dataclass(frozen=True)
class Measured:
    """One runtime on pictures of one size.

    size: (height, width). largest_difference: of a logit from the network's in float32; NaN if one is not finite.
    agreement: share of the pictures whose best class is the network's.
    """

    runtime: str
    version: str
    size: tuple[int, int]
    pictures: int
    largest_difference: float
    agreement: float

    def is_within(self, limits: Limits) -> bool:
        """Tells whether the runtime answers as the network does, within the limits."""
        return self.largest_difference <= limits.tolerance and self.agreement >= limits.least_agreement


def limits_for(golden: Golden, precision: str, tolerance: float | None) -> Limits:
    """Returns the limits of an export.

    tolerance: what the person lets pass, then whatever the best classes become; None: the precision's share of the
    logits' spread, and nine of ten best classes must stay.
    """
    if tolerance is not None:
        return Limits(tolerance, 0.0)
    return Limits(SHARES[precision] * golden.spread(), LEAST_AGREEMENT)


def measure(runtime: str, session: Session, golden: Golden) -> list[Measured]:
    """Returns what a runtime does with the golden pictures, in batches of 1, 3 and the rest.

    Of a network that takes any size, a second row tells of pictures of another one. Raises ExportError if it fails.
    """
    version = runtime_version(runtime)
    found = [_measured(runtime, version, session, golden.images, golden.logits)]
    if len(golden.other_images):
        found.append(_measured(runtime, version, session, golden.other_images, golden.other_logits))
    return found


def _measured(runtime: str, version: str, session: Session, images: np.ndarray, expected: np.ndarray) -> Measured:
    batches = np.split(images, np.cumsum(_FIRST_BATCHES))
    logits = np.concatenate([session(batch) for batch in batches if len(batch)])
    differences = np.abs(logits.astype(np.float64) - expected)
    return Measured(
        runtime=runtime,
        version=version,
        size=(images.shape[2], images.shape[3]),
        pictures=len(images),
        largest_difference=float(differences.max()),
        agreement=float((logits.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    )
