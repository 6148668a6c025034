"""The exponential moving average of the weights, as mmcv's EMAHook keeps it. torch only."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from modelscope_beit.settings.run_settings import EmaSettings


class WeightAverage:
    """average <- (1 - m) average + m weights, with m rising at first: min(momentum, (1 + i) / (warm_up + i)).

    Source: mmcv 1.7.2, runner/hooks/ema.py, where `momentum` is raised to the power of `interval` too. Weights that
    are not trained are averaged as well; they stay what they are.
    """

    def __init__(self, network: nn.Module, settings: EmaSettings) -> None:
        self._settings = settings
        self._weights = dict(network.named_parameters())
        self._average = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Takes in the weights as they are after an iteration, counted from 0."""
        if iteration % self._settings.interval:
            return
        momentum = min(
            self._settings.momentum**self._settings.interval, (1 + iteration) / (self._settings.warm_up + iteration)
        )
        averages: list[Tensor] = list(self._average.values())
        weights: list[Tensor] = list(self._weights.values())
        torch._foreach_mul_(averages, 1 - momentum)
        torch._foreach_add_(averages, weights, alpha=momentum)

    @contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Puts the average into the network, and the weights back at the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        """Returns parameter name -> average; the tensors are those that update changes."""
        return dict(self._average)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a saved average."""
        for name, average in self._average.items():
            average.copy_(state[name])

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            weight.data, self._average[name] = self._average[name], weight.data
