"""Brings what the package's own loggers say into the log of a run."""

import logging
from collections.abc import Callable

_PACKAGE = "modelscope_beit"


class PackageMessages(logging.Handler):
    """Hands messages of the package's loggers, INFO and above, to a function until it is detached.

    write: gets the level, the text, and whether it has to be shown: not where the program that uses the package has
    a handler of its own for all loggers, which shows it already.
    """

    def __init__(self, write: Callable[[str, str, bool], None]) -> None:
        super().__init__(logging.INFO)
        self._write = write
        self._logger = logging.getLogger(_PACKAGE)
        self._level = self._logger.level
        if self._level == logging.NOTSET:
            self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a message on."""
        self._write(record.levelname, self.format(record), not logging.getLogger().handlers)

    def detach(self) -> None:
        """Leaves the loggers as they were."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
