"""How a stage of pre-training is run: length, rates, precision, and how often it is measured. Standard library only.

What the network is, and what it is taught, is in the settings of the stage. The defaults are those of BEiT v2's masked
image modelling on 16 GPUs (unilm/beit2 PRETRAINING.md).
"""

from dataclasses import dataclass
from typing import ClassVar, get_args

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.optimizer_step import Precision


@dataclass(frozen=True)
class PretrainingRun:
    """The recipe of one stage.

    epochs, iterations: the length, one of them None; an iteration is one batch. batch_size, workers: of each process.
    lr: the peak, after `warm_up_epochs` (or warm_up_iterations) from 0; then a cosine to min_lr.
    clip: the gradients' largest norm. accumulation: iterations a step of the optimizer.
    log_interval, gauge_interval, checkpoint_interval: in iterations; 0: at the end only.
    gauge_pictures: pictures set aside, from which gauges come. neighbour_pictures: at most so many of each part of
    labelled data are used for k-NN. keep_checkpoints: the newest ones; 0: all. loss_scale: of fp16; None: dynamic.
    """

    epochs: int | None = 300
    iterations: int | None = None
    batch_size: int = 128
    accumulation: int = 1
    workers: int = 8
    lr: float = 1.5e-3
    min_lr: float = 1e-5
    warm_up_epochs: int = 10
    warm_up_iterations: int | None = None
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip: float | None = 3.0
    seed: int = 0
    precision: Precision = "auto"
    loss_scale: float | None = None
    device: str = "auto"
    compile: bool = False
    log_interval: int = 50
    gauge_interval: int = 2500
    gauge_pictures: int = 512
    neighbour_pictures: int = 5000
    checkpoint_interval: int = 2500
    keep_checkpoints: int = 2
    tensorboard: bool = False
    deterministic: bool = False

    # Every part of both networks has a gradient in every step.
    find_unused_parameters: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every value that cannot be used."""
        problems = []
        if (self.epochs is None) == (self.iterations is None):
            problems.append(f"one of epochs ({self.epochs}) and iterations ({self.iterations}) must be null")
        for name in ("epochs", "iterations", "batch_size", "accumulation", "log_interval"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"{name} must be at least 1, not {value}")
        counts = ("workers", "warm_up_epochs", "warm_up_iterations", "seed", "gauge_interval", "gauge_pictures",
            "neighbour_pictures", "checkpoint_interval", "keep_checkpoints")  # fmt: skip
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 0:
                problems.append(f"{name} must not be negative, but is {value}")
        if not 0 <= self.min_lr <= self.lr:
            problems.append(f"min_lr ({self.min_lr:g}) must lie between 0 and lr ({self.lr:g})")
        if self.weight_decay < 0 or self.eps < 0:
            problems.append(f"weight_decay ({self.weight_decay:g}) and eps ({self.eps:g}) must not be negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            problems.append(f"betas must be two numbers from 0 to below 1, not {self.betas}")
        if self.clip is not None and self.clip <= 0:
            problems.append(f"clip must be above 0, or null for none, not {self.clip:g}")
        if self.precision not in get_args(Precision):
            problems.append(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision!r}")
        if problems:
            raise SettingsError("\n- ".join(["The run cannot be made as its recipe says:", *problems]))
