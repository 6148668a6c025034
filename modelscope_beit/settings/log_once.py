"""Lines of the log that are worth one mention, however often a configuration is read on the way to a run."""

import functools
import logging


@functools.cache
def log_once(logger: logging.Logger, level: int, message: str) -> None:
    """Logs a message the first time that this process has it for this logger."""
    logger.log(level, "%s", message)
