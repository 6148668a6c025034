"""A stage that is small enough to know everything about: it learns the mean colour of pictures of 8 x 8 pixels."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from modelscope_beit.pretraining.stage import GaugeRow, StageBatch, Verdict

PIXELS = 8


class ToyNetwork(nn.Module):
    """Guesses the mean colour from hidden features; drops some of them, so that random numbers count."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * PIXELS * PIXELS, 16)
        self.drop = nn.Dropout(float(os.environ.get("TOY_DROPOUT", "0.2")))
        self.guess = nn.Linear(16, 3)
        self.token = nn.Parameter(torch.zeros(1, 16))
        self.start: Tensor
        self.register_buffer("start", torch.zeros(1))

    def forward(self, batch: StageBatch) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = torch.tanh(self.hidden(batch["image"].flatten(1))) + self.token
        error = (self.guess(self.drop(hidden)) - batch["target"]).square().mean()
        return error, {"error": error.detach().sqrt()}


class ToyStage:
    """See pretraining.stage.Stage. begun: batches that before_first_step was given; steps: iterations told."""

    name = "toy"
    no_decay: tuple[str, ...] = ("token",)

    def __init__(self, *, goes_on: bool = True) -> None:
        torch.manual_seed(0)
        self.network = ToyNetwork()
        self.begun = 0
        self.steps: list[int] = []
        self._goes_on = goes_on

    def move(self, device: torch.device) -> None:
        self.device = device

    def sample(self, picture: Image.Image, rng: np.random.Generator) -> dict[str, Tensor]:
        image = self.view(picture) + float(rng.normal()) * 0.01
        return {"image": image}

    def complete(self, batch: StageBatch) -> StageBatch:
        return {**batch, "target": batch["image"].mean(dim=(2, 3))}

    def before_first_step(self, batches: Iterator[StageBatch]) -> None:
        assert self.network.training
        self.network.start += next(batches)["target"].mean()
        self.begun += 1

    def after_step(self, iteration: int) -> None:
        self.steps.append(iteration)

    def gauges(self, batches: Iterable[StageBatch]) -> dict[str, float]:
        assert not self.network.training
        torch.rand(7)  # What measuring draws must not change the training.
        errors = [float(self.network(batch)[0]) for batch in batches]
        return {"aside_error": float(np.mean(errors))} if errors else {}

    def gate(self, history: Sequence[GaugeRow]) -> Verdict:
        return Verdict(self._goes_on, (f"aside_error is {history[-1].get('aside_error', 0.0):.3f}",))

    def pictures(self, folder: Path, batches: Iterable[StageBatch]) -> dict[str, Path]:
        image = next(iter(batches))["image"][0]
        file = folder / "first.png"
        Image.fromarray((image.clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(file)
        return {"The first <picture>": file}

    def view(self, picture: Image.Image) -> Tensor:
        pixels = np.asarray(picture.resize((PIXELS, PIXELS)), np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        return {"class_token": images.mean(dim=(2, 3)), "mean": images.flatten(1)}

    def checkpoint_files(self) -> dict[str, dict[str, object]]:
        return {"toy.pth": {"model": self.network.state_dict()}}
