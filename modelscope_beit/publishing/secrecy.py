"""Keeps a token out of logs: of ours, of the hubs' clients and of what these use."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

MASK = "***"

# Whoever handles a request, and so may quote what a server says of it.
_TALKERS = (
    "modelscope_beit",
    "modelscope_hub",
    "huggingface_hub",
    "hf_xet",
    "urllib3",
    "requests",
    "httpx",
    "httpcore",
)


def masked(text: str, token: str | None) -> str:
    """Returns the text without the token."""
    return text.replace(token, MASK) if token else text


@contextmanager
def kept_out_of_logs(token: str) -> Iterator[None]:
    """Within it no record of the packages that talk to a hub contains the token, at any level.

    Servers may repeat a token in their answers, and clients log these.
    """

    def mask(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if token in text:
            record.msg, record.args = masked(text, token), ()
        return True

    loggers = [logging.getLogger(name) for name in _TALKERS]
    loggers += [
        logging.getLogger(name)
        for name in list(logging.root.manager.loggerDict)
        if name.startswith(tuple(f"{talker}." for talker in _TALKERS))
    ]
    for logger in loggers:
        logger.addFilter(mask)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(mask)
