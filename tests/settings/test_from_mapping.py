"""Mappings and settings: there and back, and every mistake named by its path."""

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.from_mapping import mapping_of, settings_from


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    sides: tuple[int, int] = (3, 4)
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    count: int
    kind: Literal["a", "b"] = "a"
    size: int | tuple[int, int] | None = None
    is_on: bool = False
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise SettingsError("count must not be negative")


@pytest.mark.parametrize(
    "settings",
    [
        Outer(1),
        Outer(2, "b", 7, True, Inner(1.5, (1, 2), ("x", "y"))),
        Outer(3, size=(8, 9)),
    ],
)
def test_settings_from__reads_what_mapping_of_wrote_by_way_of_json(settings: Outer) -> None:
    assert settings_from(json.loads(json.dumps(mapping_of(settings))), Outer, where="f") == settings


def test_settings_from__takes_whole_numbers_as_numbers_and_passes_over_comments() -> None:
    found = settings_from({"count": 1, "_about": "text", "inner": {"rate": 2}}, Outer, where="f")
    assert found.inner.rate == 2.0
    assert type(found.inner.rate) is float


def test_settings_from__names_everything_that_is_wrong_at_once() -> None:
    wrong = {"kind": "c", "size": [1, "x"], "is_on": 1, "inner": {"rates": 1, "sides": [1], "names": "xy"}}
    with pytest.raises(SettingsError) as caught:
        settings_from(wrong, Outer, where="f.json")
    assert str(caught.value).splitlines() == [
        "f.json cannot be used as it is:",
        "- count is missing: a whole number is expected",
        "- kind is 'c': one of a, b is expected",
        "- size is [1, 'x']: a whole number or a list of 2 values or null is expected",
        "- is_on is 1: true or false is expected",
        "- inner.sides is [1]: a list of 2 values is expected",
        "- inner.names is 'xy': a list of a text is expected",
        "- inner.rates is 1: nobody knows this key; did you mean rate?",
    ]


@pytest.mark.parametrize("value", [True, 1.5, "1", None])
def test_settings_from__takes_no_other_kind_for_a_whole_number(value: object) -> None:
    with pytest.raises(SettingsError, match="count is .*a whole number is expected"):
        settings_from({"count": value}, Outer, where="f")


def test_settings_from__tells_what_the_settings_themselves_refuse() -> None:
    with pytest.raises(SettingsError, match="count must not be negative"):
        settings_from({"count": -1}, Outer, where="f")
