"""Keeps the processes of a run together: they go on, stop, or fail with the same error, all at the same place."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

from modelscope_beit.errors import BeitError, TrainingError

Item = TypeVar("Item")
_END = object()


def is_main_process() -> bool:
    """Tells whether this is the process that speaks and writes; torchrun numbers its processes."""
    return os.environ.get("RANK", "0") == "0"


class Processes:
    """All processes of a run. Each method has to be called by all of them, in the same order.

    They talk through gloo, whatever carries the gradients: so nobody waits for a GPU, and who waits for a process
    that has died gets TrainingError at once.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._group: Any = torch.distributed.new_group(backend="gloo") if count > 1 else None

    def any(self, is_so: bool) -> bool:
        """Tells whether it is so in any process."""
        if self._group is None:
            return is_so
        told = torch.tensor([int(is_so)])
        try:
            torch.distributed.all_reduce(told, group=self._group)
        except RuntimeError as error:
            raise TrainingError("Another process of this run has ended; its message tells why.") from error
        return bool(told.item())

    def gathered(self, value: Any) -> list[Any]:
        """Returns the values of all processes, in their order."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self._count
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values

    def take_over(self, tensors: Iterable[Tensor]) -> None:
        """Fills tensors with the values that they have in the first process."""
        for tensor in tensors if self._group is not None else ():
            value = tensor.detach().cpu()
            torch.distributed.broadcast(value, src=0, group=self._group)
            tensor.copy_(value)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Ends in all processes at once; if one raises an error in it, so do those that have none of their own."""
        error: Exception | None = None
        try:
            yield
        except Exception as own:
            error = own
        if self.any(error is not None):
            errors = self.gathered(_portable(error))
            raise error or next(found for found in errors if found is not None)

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields the items of this process, of which all have equally many; what one raises, all raise."""
        rest = iter(items)
        while True:
            with self.together():
                item: Any = next(rest, _END)
            if item is _END:
                return
            yield item


def _portable(error: Exception | None) -> Exception | None:
    """Returns an error that other processes can be sent: one of ours, since others may not survive pickling."""
    if error is None or isinstance(error, BeitError):
        return error
    return TrainingError(f"{type(error).__name__}: {error}")
