"""The codebook of the tokenizer: unit vectors that follow the features they are nearest to. torch only.

Source: BEiT v2 (arXiv 2208.06366), section 2.2; unilm/beit2 norm_ema_quantizer.py. Letters: K codes, D channels of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.pretraining.all_processes import add_up, gather_rows, is_first, take_from_first
from modelscope_beit.pretraining.spherical_kmeans import nearest_codes, spherical_kmeans, sums_by_code
from modelscope_beit.settings.tokenizer import CodebookSettings


@dataclass(frozen=True)
class Quantized:
    """Features and the codes nearest to them.

    numbers: (N, P) int64, of the codes. features: (N, P, D), of length 1. vectors: (N, P, D), the codes themselves;
    their gradient goes to the features. commitment: (), the weighted mean squared distance of the two.
    """

    numbers: Tensor
    features: Tensor
    vectors: Tensor
    commitment: Tensor

    def detached(self) -> "Quantized":
        """Returns the same without gradients."""
        return Quantized(self.numbers, self.features.detach(), self.vectors.detach(), self.commitment.detach())


def joined(batches: Sequence[Quantized]) -> Quantized:
    """Returns several batches as one; its commitment is the mean over all their features."""
    counts = torch.tensor([float(batch.numbers.numel()) for batch in batches])
    distances = torch.stack([batch.commitment for batch in batches])
    weights = (counts / counts.sum()).to(distances)
    numbers, features, vectors = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("numbers", "features", "vectors")
    )
    return Quantized(numbers, features, vectors, (distances * weights).sum())


class Codebook(nn.Module):
    """K unit vectors without a gradient. To quantize changes nothing; `learn` moves them, in all processes alike.

    codes: (K, D). usage: (K,), moving average of how many features of a step a code gets. idle: (K,), steps since it
    last got one. steps: how often it has learned. is_started: whether codes are set, or the first features still to be
    gathered around.
    """

    codes: Tensor
    usage: Tensor
    idle: Tensor
    steps: Tensor
    is_started: Tensor

    def __init__(self, settings: CodebookSettings) -> None:
        super().__init__()
        self.settings = settings
        count = settings.num_codes
        codes = torch.zeros(count, settings.code_width)
        if settings.start == "random":
            codes = F.normalize(torch.randn_like(codes), dim=-1)
        self.register_buffer("codes", codes)
        self.register_buffer("usage", torch.zeros(count))
        self.register_buffer("idle", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("is_started", torch.tensor(settings.start == "random"))

    def forward(self, features: Tensor) -> Quantized:
        """Returns the codes nearest to features (N, P, D) of any length; compared in full, also under autocast."""
        unit = F.normalize(features.to(self.codes.dtype), dim=-1)
        # In bfloat16 many of 8192 codes would be equally near, and the first of them would always be taken.
        with torch.autocast(unit.device.type, enabled=False):
            numbers = nearest_codes(unit.detach().flatten(0, 1), self.codes).unflatten(0, unit.shape[:2])
        chosen = F.embedding(numbers, self.codes)
        commitment = self.settings.commitment * F.mse_loss(unit, chosen)
        return Quantized(numbers, unit, unit + (chosen - unit).detach(), commitment)

    @torch.no_grad()
    def start(self, features: Tensor, *, seed: int) -> None:
        """Sets the codes by k-means on the features (N, P, D) of all processes; does nothing if they are set already.

        The first process computes and the others take over its result. With fewer features than codes, some codes
        are equal.
        """
        if bool(self.is_started):
            return
        unit = gather_rows(F.normalize(features.to(self.codes.dtype), dim=-1).flatten(0, 1))
        if is_first():
            self.codes.copy_(spherical_kmeans(unit, len(self.codes), seed=seed))
        take_from_first(self.codes)
        self.is_started.fill_(True)

    @torch.no_grad()
    def learn(self, batches: Sequence[Quantized], *, seed: int) -> None:
        """Moves each code towards the mean direction of the features of this step, in all processes, that chose it.

        batches: all that this process has quantized for the step. seed: of what revived codes are moved onto; without
        revival nothing is random.
        """
        step = joined(batches).detached()
        features, numbers = step.features.flatten(0, 1), step.numbers.flatten()
        sums, sizes = sums_by_code(features, numbers, len(self.codes))
        both = add_up(torch.cat([sums, sizes[:, None]], dim=1))
        sums, sizes = both[:, :-1], both[:, -1]
        is_chosen = sizes > 0
        decay = self.settings.decay
        wanted = torch.where(is_chosen[:, None], F.normalize(sums / sizes.clamp(min=1)[:, None], dim=-1), self.codes)
        self.codes.copy_(F.normalize(self.codes.lerp(wanted, 1 - decay), dim=-1))
        self.usage.mul_(decay).add_(sizes, alpha=1 - decay)
        self.idle.add_(1).masked_fill_(is_chosen, 0)
        self.steps.add_(1)
        if self.settings.revive_after is not None:
            self._revive(features, self.settings.revive_after, seed)

    def _revive(self, features: Tensor, revive_after: int, seed: int) -> None:
        dead = (self.idle >= revive_after).nonzero().flatten()
        if not len(dead):
            return
        available = gather_rows(features)
        generator = torch.Generator().manual_seed(seed + int(self.steps))
        drawn = torch.randint(len(available), (len(dead),), generator=generator)
        self.codes[dead] = available[drawn.to(available.device)]
        self.idle[dead] = 0
