"""What a configuration may say of scores, and everything that it may not."""

import json
from copy import deepcopy
from dataclasses import asdict

import pytest

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.confidence import Confidence
from modelscope_beit.settings.configuration import read_configuration, unknown_keys, write_configuration

GIVEN = Confidence(1.25, -0.5, 0.05, 5000, "photos", "sha256:00ff")


def read(section: object) -> Confidence | None:
    return read_configuration({**helpers.TINY_CONFIGURATION, "confidence": section}, "it").confidence


def test_read_confidence__what_was_written() -> None:
    settings = read_configuration({**helpers.TINY_CONFIGURATION, "confidence": asdict(GIVEN)}, "it")
    assert settings.confidence == GIVEN
    assert "confidence" not in settings.extra and unknown_keys(settings) == []
    written = json.loads(json.dumps(write_configuration(settings)))
    assert written["confidence"] == asdict(GIVEN)
    assert read_configuration(written, "it").confidence == GIVEN


@pytest.mark.parametrize("section", [None, "absent"])
def test_read_confidence__none_is_there(section: object) -> None:
    content = deepcopy(helpers.TINY_CONFIGURATION) | ({} if section == "absent" else {"confidence": section})
    settings = read_configuration(content, "it")
    assert settings.confidence is None
    assert "confidence" not in write_configuration(settings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"temperature": 0}, "confidence.temperature is 0: a finite number above 0"),
        ({"temperature": -1.0}, "confidence.temperature is -1.0"),
        ({"temperature": float("inf")}, "confidence.temperature is inf"),
        ({"temperature": "1"}, "confidence.temperature is '1': a finite number above 0"),
        ({"temperature": True}, "confidence.temperature is True"),
        ({"unknown_below": float("nan")}, "confidence.unknown_below is nan: a finite number"),
        ({"false_alarm_rate": 0}, "confidence.false_alarm_rate is 0: a share between 0 and 1"),
        ({"false_alarm_rate": 1}, "confidence.false_alarm_rate is 1"),
        ({"pictures": 0}, "confidence.pictures is 0"),
        ({"pictures": 2.5}, "confidence.pictures is 2.5: a count of at least 1"),
        ({"data": 3}, "confidence.data is 3: a text"),
        ({"weights": "md5:00"}, "confidence.weights is 'md5:00': a digest that begins with sha256:"),
        ({"temprature": 1.0}, "confidence.temprature is 1.0: nobody knows this key; did you mean temperature?"),
    ],
)
def test_read_confidence__refuses_with_the_key(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(asdict(GIVEN) | changes)
    assert told in str(raised.value)


def test_read_confidence__tells_all_problems_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        read({"temperature": 1.0, "data": "photos"})
    for name in ("unknown_below", "false_alarm_rate", "pictures", "weights"):
        assert f"confidence.{name} is missing" in str(raised.value)


def test_read_confidence__refuses_what_is_no_mapping() -> None:
    with pytest.raises(SettingsError, match=r"confidence is 1\.5: a mapping is expected"):
        read(1.5)


def test_in_words__has_all_numbers() -> None:
    words = GIVEN.in_words()
    assert (
        "1.25" in words
        and "5,000 pictures (photos)" in words
        and "-0.5" in words
        and "at most 5 % of pictures" in words
    )
