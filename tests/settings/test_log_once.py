"""A line is logged once for each logger."""

import logging

import pytest

from modelscope_beit.settings.log_once import log_once


def test_log_once__is_silent_the_second_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, second = logging.getLogger("modelscope_beit.first"), logging.getLogger("modelscope_beit.second")
    for _ in range(3):
        log_once(first, logging.INFO, "100 % of it")
        log_once(first, logging.WARNING, "another")
        log_once(second, logging.INFO, "100 % of it")
    assert [(record.name.rpartition(".")[2], record.getMessage()) for record in caplog.records] == [
        ("first", "100 % of it"),
        ("first", "another"),
        ("second", "100 % of it"),
    ]
