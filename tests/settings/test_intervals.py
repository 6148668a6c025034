"""Numbers between bounds."""

import math

import pytest

from modelscope_beit.settings.intervals import (
    ANY,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_SHARE,
    SHARE,
    count_from,
    is_number_in,
    number_in,
    optional_number_in,
)
from modelscope_beit.settings.problems import Problems, Section


def section(**mapping):
    return Section(mapping, "train.lr_config", Problems())


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (ANY, [-3, 0, 1e300], [math.inf, math.nan]),
        (NOT_NEGATIVE, [0, 5.0], [-1e-9]),
        (POSITIVE, [1e-9], [0, -1]),
        (SHARE, [0, 1], [-0.1, 1.1]),
        (POSITIVE_SHARE, [0.1, 1], [0, 1.1]),
        (BELOW_ONE, [0, 0.999], [1, -0.1]),
    ],
)
def test_is_number_in__bounds(interval, inside, outside):
    assert all(is_number_in(value, interval) for value in inside)
    assert not any(is_number_in(value, interval) for value in [*outside, True, "1", None, [1]])


def test_number_in__a_wrong_value_is_told_with_what_is_expected():
    read = section(gamma=-1)
    assert number_in(read, "gamma", 0.1, NOT_NEGATIVE) == 0.1
    assert read.problems.wrong == ["train.lr_config.gamma is -1: a number of 0 or more is expected"]


def test_number_in__what_has_to_be_there():
    read = section()
    number_in(read, "gamma", None, POSITIVE)
    assert read.problems.wrong == ["train.lr_config.gamma is missing: a number above 0 is expected"]


def test_number_in__whole_numbers_become_floats():
    assert type(number_in(section(gamma=1), "gamma", None, POSITIVE)) is float


@pytest.mark.parametrize(("mapping", "expected"), [({}, None), ({"min_lr": None}, None), ({"min_lr": 0}, 0.0)])
def test_optional_number_in__absent_and_null(mapping, expected):
    read = section(**mapping)
    assert optional_number_in(read, "min_lr", NOT_NEGATIVE) == expected
    assert not read.problems.wrong


@pytest.mark.parametrize("value", [0, 1.0, True, None, "3"])
def test_count_from__refuses(value):
    read = section(cyclic_times=value)
    assert count_from(read, "cyclic_times", 4, 1) == 4
    assert "a whole number of 1 or more is expected" in read.problems.wrong[0]


def test_count_from__takes_the_smallest():
    assert count_from(section(cyclic_times=2), "cyclic_times", 4, 2) == 2
