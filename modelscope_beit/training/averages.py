"""Means over iterations whose losses stay on the device until somebody asks, so that no iteration waits for them."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """Sums over some iterations. loss: each iteration's mean loss times its pictures, as mmcv weighs them."""

    iterations: int = 0
    images: int = 0
    loss: float = 0.0
    data_seconds: float = 0.0
    seconds: float = 0.0
    gradient_norm: float = 0.0
    gradient_norms: int = 0

    def __add__(self, other: "Span") -> "Span":
        return Span(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def mean_loss(self) -> float:
        """The mean loss of a picture; nan if there was none."""
        return self.loss / self.images if self.images else float("nan")

    @property
    def mean_gradient_norm(self) -> float | None:
        """The mean of the norms, None if there was none."""
        return self.gradient_norm / self.gradient_norms if self.gradient_norms else None

    @property
    def images_per_second(self) -> float:
        """Pictures a second, 0 if no time has passed."""
        return self.images / self.seconds if self.seconds > 0 else 0.0


class PendingIterations:
    """Collects what iterations report; `take` waits for the device and gives the sums."""

    def __init__(self) -> None:
        self._losses: list[Tensor | float] = []
        self._images: list[int] = []
        self._gradient_norms: list[Tensor | float] = []
        self._data_seconds = self._seconds = 0.0

    def __len__(self) -> int:
        return len(self._losses)

    def add(
        self,
        loss: Tensor | float,
        num_images: int,
        data_seconds: float,
        seconds: float,
        gradient_norm: Tensor | float | None,
    ) -> None:
        """Notes one iteration. loss, gradient_norm: numbers, or tensors of no dimension on any device."""
        self._losses.append(loss.detach() if isinstance(loss, Tensor) else loss)
        self._images.append(num_images)
        self._data_seconds += data_seconds
        self._seconds += seconds
        if gradient_norm is not None:
            self._gradient_norms.append(gradient_norm.detach() if isinstance(gradient_norm, Tensor) else gradient_norm)

    def take(self) -> Span:
        """Returns the sums of all noted iterations and forgets these."""
        losses = zip(_numbers(self._losses), self._images, strict=True)
        span = Span(
            iterations=len(self._losses),
            images=sum(self._images),
            loss=sum(loss * images for loss, images in losses),
            data_seconds=self._data_seconds,
            seconds=self._seconds,
            gradient_norm=sum(_numbers(self._gradient_norms)),
            gradient_norms=len(self._gradient_norms),
        )
        self.__init__()  # type: ignore[misc]
        return span


def _numbers(values: list[Tensor | float]) -> list[float]:
    """Returns Python floats; tensors are brought over together, so that the device is waited for once."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) < len(values):
        return [float(value) for value in values]
    return torch.stack(tensors).float().tolist() if tensors else []
