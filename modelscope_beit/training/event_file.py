"""TensorBoard's event file, for those who have installed TensorBoard."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

# mmcv's TensorboardLoggerHook writes here.
EVENT_FOLDER = "tf_logs"


class EventFile:
    """Writes numbers for TensorBoard; raises ImportError if it is not installed."""

    def __init__(self, work_dir: Path) -> None:
        # An optional package.
        from torch.utils.tensorboard import SummaryWriter

        self._make_writer = partial(SummaryWriter, str(work_dir / EVENT_FOLDER))
        self._first_iteration: int | None = None
        self._writer: Any = None

    def resume(self, iteration: int) -> None:
        """Makes TensorBoard forget what earlier parts of the run wrote after an iteration."""
        self._first_iteration = iteration + 1

    def add(self, iteration: int, values: Mapping[str, object]) -> None:
        """Adds the numbers among the values, under their names."""
        if self._writer is None:
            self._writer = self._make_writer(purge_step=self._first_iteration)
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        """Brings everything to the disk."""
        if self._writer is not None:
            self._writer.close()
