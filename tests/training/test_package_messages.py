"""Messages of the package's loggers, in a run's log and out of it again."""

import logging

import pytest

from modelscope_beit.training.package_messages import PackageMessages

PACKAGE = logging.getLogger("modelscope_beit")
MODULE = logging.getLogger("modelscope_beit.data.checks")


def test_package_messages__hands_on_what_the_package_says(monkeypatch):
    # As in a program that has set up no logging; pytest has.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    said = []
    messages = PackageMessages(lambda *arguments: said.append(arguments))
    MODULE.info("%d pictures", 5)
    MODULE.warning("100% sure")
    MODULE.debug("details")
    logging.getLogger("somebody.else").error("not ours")
    messages.detach()
    MODULE.error("too late")
    assert said == [("INFO", "5 pictures", True), ("WARNING", "100% sure", True)]


def test_package_messages__are_not_shown_twice():
    said = []
    messages = PackageMessages(lambda *arguments: said.append(arguments))
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        MODULE.warning("careful")
    finally:
        logging.getLogger().removeHandler(handler)
        messages.detach()
    assert said == [("WARNING", "careful", False)]


@pytest.mark.parametrize("level", [logging.NOTSET, logging.ERROR])
def test_detach__leaves_the_loggers_as_they_were(level):
    before = list(PACKAGE.handlers)
    PACKAGE.setLevel(level)
    try:
        said = []
        messages = PackageMessages(lambda *arguments: said.append(arguments))
        MODULE.info("wanted unless the program asked for errors only")
        messages.detach()
        assert len(said) == (level == logging.NOTSET)
        assert (PACKAGE.handlers, PACKAGE.level) == (before, level)
    finally:
        PACKAGE.setLevel(logging.NOTSET)


def test_package_messages__tell_an_exceptions_traceback():
    said = []
    messages = PackageMessages(lambda *arguments: said.append(arguments))
    try:
        raise ValueError("why")
    except ValueError:
        MODULE.exception("failed")
    messages.detach()
    assert said[0][1].startswith("failed\nTraceback") and "ValueError: why" in said[0][1]
