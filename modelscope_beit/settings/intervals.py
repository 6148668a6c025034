"""Numbers of a configuration that have to lie between bounds: how they are read, how the bounds are put into words."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from modelscope_beit.settings.problems import Section


@dataclass(frozen=True)
class Interval:
    """Numbers that are allowed. words: what is expected, as a message says it."""

    words: str
    holds: Callable[[float], bool]


ANY = Interval("a finite number", lambda value: True)
NOT_NEGATIVE = Interval("a number of 0 or more", lambda value: value >= 0)
POSITIVE = Interval("a number above 0", lambda value: value > 0)
SHARE = Interval("a number from 0 to 1", lambda value: 0 <= value <= 1)
POSITIVE_SHARE = Interval("a number above 0 and at most 1", lambda value: 0 < value <= 1)
BELOW_ONE = Interval("a number from 0 to below 1", lambda value: 0 <= value < 1)


def number_in(section: Section, name: str, default: float | None, interval: Interval) -> float:
    """Returns a number of the interval; default None: it has to be there.

    What is wrong is noted in the section; then the default is returned, or 1.
    """
    value = section.get(name, default)
    if is_number_in(value, interval):
        return float(value)
    section.wrong(name, f"{interval.words} is expected")
    return 1.0 if default is None else default


def optional_number_in(section: Section, name: str, interval: Interval) -> float | None:
    """Returns a number of the interval, or None where it is absent or null."""
    return None if section.get(name) is None else number_in(section, name, None, interval)


def count_from(section: Section, name: str, default: int, smallest: int) -> int:
    """Returns a whole number that is `smallest` or more."""
    value = section.get(name, default)
    if is_count(value, smallest):
        return value
    section.wrong(name, f"a whole number of {smallest} or more is expected")
    return default


def is_number_in(value: object, interval: Interval) -> TypeGuard[float]:
    """Tells whether a value is a finite number of the interval; True and False are no numbers."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and interval.holds(value)


def is_count(value: object, smallest: int) -> TypeGuard[int]:
    """Tells whether a value is a whole number that is `smallest` or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= smallest
