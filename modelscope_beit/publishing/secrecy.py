"""Keeps a token out of logs: of ours, of the hubs' clients and of what these use."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MASK = "***"


def masked(text: str, token: str | None) -> str:
    """Returns the text without the token."""
    return text.replace(token, MASK) if token else text


@contextmanager
def kept_out_of_logs(token: str) -> Iterator[None]:
    """Within it no record of any logger contains the token, at any level, in its words or in its traceback.

    Servers may repeat a token in their answers, and clients log these, by loggers that may not exist yet.
    """
    factory = logging.getLogRecordFactory()

    def make(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = factory(*arguments, **options)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            # Words and arguments do not fit. Whoever handles the record says so, and quotes both.
            text = f"{record.msg} {record.args}"
        if token in text:
            record.msg, record.args = masked(text, token), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = masked("".join(traceback.format_exception(record.exc_info[1])).rstrip("\n"), token)
        return record

    logging.setLogRecordFactory(make)
    try:
        yield
    finally:
        logging.setLogRecordFactory(factory)
