"""What the loop of pre-training asks of a stage: BEiT v2 has two, the tokenizer and masked image modelling."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor, device, nn

# What one step sees: name -> (N, ...), rows of one batch.
StageBatch = dict[str, Tensor]
# A row of gauges: "iteration" and what `Stage.gauges` gave there, oldest first in a history.
GaugeRow = Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """What a gate says after a stage. reasons: sentences with numbers, those that forbid to go on first."""

    goes_on: bool
    reasons: tuple[str, ...]


class Stage(Protocol):
    """One stage of pre-training.

    name: "tokenizer" or "masked", for files and messages.
    network: what is trained, and all that is saved. Its forward takes a completed StageBatch and returns the loss,
        a mean over the rows, and {name: number} to be logged, each of no dimension and without a gradient.
    no_decay: parts of names of parameters without weight decay, beside biases and all others of one dimension.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def network(self) -> nn.Module: ...  # noqa: D102

    @property
    def no_decay(self) -> tuple[str, ...]: ...  # noqa: D102

    def move(self, device: device) -> None:
        """Takes what is not trained (teacher, tokenizer) to the device; the loop takes the network."""
        ...

    def sample(self, picture: Image.Image, rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns what a step needs of one picture; all that is random comes from `rng`. Called by threads."""
        ...

    def complete(self, batch: StageBatch) -> StageBatch:
        """Returns the batch with what frozen networks make of it: teacher features, visual tokens. No gradient."""
        ...

    def before_first_step(self, batches: Iterator[StageBatch]) -> None:
        """Begins from data what needs it, such as a codebook by k-means; completed batches of this process.

        Called by all processes, never in a run that goes on from a checkpoint; what it sets must be equal in all.
        """
        ...

    def after_step(self, iteration: int) -> None:
        """Does what follows a step of the optimizer; iteration: of completed batches, counted over the whole run."""
        ...

    def gauges(self, batches: Iterable[StageBatch]) -> dict[str, float]:
        """Measures the network, in evaluation mode, on completed batches that it is not trained on.

        Called by all processes, with equal batches; without any, as of a stream, it tells what training has seen.
        """
        ...

    def gate(self, history: Sequence[GaugeRow]) -> Verdict:
        """Says whether the next stage may build on this one, from its gauges."""
        ...

    def pictures(self, folder: Path, batches: Iterable[StageBatch]) -> dict[str, Path]:
        """Draws into the folder what a person should see, and returns caption -> file."""
        ...

    def view(self, picture: Image.Image) -> Tensor:
        """Returns (3, H, W), the picture as `features` wants it; nothing is random."""
        ...

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Returns name -> (N, C) of images (N, 3, H, W), for k-NN: "class_token" and "mean", those that there are."""
        ...

    def checkpoint_files(self) -> dict[str, dict[str, object]]:
        """Returns file name -> content, as torch.save takes it, in the layout of unilm's released files."""
        ...
