"""Makes code of others draw its random numbers from a generator of ours: that of `random`, numpy and torch."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

# What draws from torch's own generator unless it is told another one.
_DRAWING = frozenset(
    (
        *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.multinomial),
        *(torch.poisson, torch.Tensor.bernoulli, torch.Tensor.multinomial, torch.Tensor.uniform_, torch.Tensor.normal_),
        *(torch.Tensor.bernoulli_, torch.Tensor.random_, torch.Tensor.exponential_, torch.Tensor.geometric_),
        *(torch.Tensor.log_normal_, torch.Tensor.cauchy_, torch._sample_dirichlet),
    )
)

# What takes no generator -> how a tensor is filled with the same.
_FILLING = {torch.rand_like: torch.Tensor.uniform_, torch.randn_like: torch.Tensor.normal_}


@contextmanager
def drawing_from(rng: np.random.Generator) -> Iterator[None]:
    """Lets `random`, numpy.random and torch draw from seeds that a generator gives.

    random and numpy have one generator for all threads: only one thread at a time may be in the block, and others that
    draw from these meanwhile get its numbers. Both are put back after it. torch is not touched: only in this thread
    its functions get a generator of their own, because a network may draw from torch's on the processor.
    """
    states = random.getstate(), np.random.get_state()
    random.seed(int(rng.integers(2**32)))
    np.random.seed(int(rng.integers(2**32)))
    try:
        with _OwnGenerator(int(rng.integers(2**32))):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


class _OwnGenerator(TorchFunctionMode):
    """Hands a generator to every function of torch that draws, in the thread that entered it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _DRAWING and given.get("generator") is None:
            given["generator"] = self._generator
        if func in _FILLING:
            return _FILLING[func](torch.empty_like(*args, **given), generator=self._generator)
        return func(*args, **given)
