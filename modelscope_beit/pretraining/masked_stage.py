"""Masked image modelling as a stage of the loop: views and masks, codes of the tokenizer, both losses, gauges."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.images.block_masks import block_mask
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.two_views import TwoViews, normalised, unit_range
from modelscope_beit.names import WRITTEN_WEIGHT_FILE
from modelscope_beit.pretraining.all_processes import add_up
from modelscope_beit.pretraining.code_cache import CodeCache, key_of
from modelscope_beit.pretraining.masked_files import masked_content
from modelscope_beit.pretraining.masked_gauges import GUESSES, GuessCounts, judge, seen_gauges
from modelscope_beit.pretraining.masked_model import MaskedPretrainingModel
from modelscope_beit.pretraining.masked_pictures import draw_codes, draw_guesses
from modelscope_beit.pretraining.stage import GaugeRow, StageBatch, Verdict
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings, evaluation_steps_of


class VisualTokenizer(Protocol):
    """Whatever makes codes of pictures: the VQ-KD tokenizer, or anything else with this method."""

    def tokenize(self, images: Tensor) -> Tensor:
        """Returns the numbers of the codes (N, P), int64, of images (N, 3, H, W), float, RGB, from 0 to 1."""
        ...


class MaskedLoss(nn.Module):
    """The network and its loss: what the loop trains.

    seen_codes: (V,) int64, how often each code was to be guessed in training, by this process, since it began.
    """

    seen_codes: Tensor

    def __init__(self, model: MaskedPretrainingModel) -> None:
        super().__init__()
        self.model = model
        # Belongs to this process and to no checkpoint.
        counts = torch.zeros(model.pretraining.model.num_visual_tokens, dtype=torch.int64)
        self.register_buffer("seen_codes", counts, persistent=False)

    def forward(self, batch: StageBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the sum of the mean losses of both guesses, and for each its loss and its accuracy in percent."""
        logits = self.model(batch["images"], batch["mask"], batch["hidden"])  # (G, N, M, V)
        codes = batch["codes"]
        if self.training:
            # Not bincount, for whose size a GPU would have to be waited for.
            self.seen_codes.index_add_(0, codes.flatten(), torch.ones_like(codes.flatten()))
        total, measured = torch.zeros((), device=logits.device), {}
        for name, scores in zip(GUESSES, logits, strict=False):
            loss = F.cross_entropy(scores.flatten(0, 1), codes.flatten())
            total = total + loss
            measured[f"loss_{name}"] = loss.detach()
            measured[f"accuracy_{name}"] = 100 * (scores.detach().argmax(dim=-1) == codes).float().mean()
        return total, measured


class MaskedStage:
    """See pretraining.stage.Stage."""

    name = "masked"
    # As in unilm; the mask token and the table of relative positions decay.
    no_decay: tuple[str, ...] = ("cls_token", "pos_embed")

    def __init__(
        self,
        settings: MaskedPretrainingSettings,
        model: MaskedPretrainingModel,
        tokenizer: VisualTokenizer,
        *,
        cache: CodeCache | None = None,
    ) -> None:
        """Raises SettingsError if codes are to be kept of crops that never come again."""
        if cache is not None and not settings.views.num_crops:
            raise SettingsError(
                "Codes can be kept only of crops that come again: set masked.views.num_crops, or do without the cache."
            )
        self.settings = settings
        self._cache = cache
        self.network = MaskedLoss(model)
        self.tokenizer = tokenizer
        self._views = TwoViews(settings)
        self._evaluation = EvaluationTransform(evaluation_steps_of(settings))

    @property
    def model(self) -> MaskedPretrainingModel:
        """The network itself, without its loss."""
        return self.network.model

    def move(self, device: torch.device) -> None:
        """Takes the tokenizer to the device, frozen."""
        if isinstance(self.tokenizer, nn.Module):
            self.tokenizer.to(device).eval().requires_grad_(False)

    def sample(self, picture: Image.Image, rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns `pixels` and `code_pixels` (3, H, W), bytes, the latter only if they are others; `hidden`; `key`.

        hidden: (M,) int64, the numbers of the patches that are hidden, rising. key: only if codes are kept.
        """
        views = self._views(picture, rng)
        mask = block_mask(self.settings.model.backbone.grid, self.settings.masking, rng)
        found = {"pixels": views.pixels, "hidden": torch.from_numpy(np.flatnonzero(mask))}
        if views.code_pixels is not views.pixels:
            found["code_pixels"] = views.code_pixels
        if self._cache is not None:
            found["key"] = key_of(views.code_pixels)
        return found

    def complete(self, batch: StageBatch) -> StageBatch:
        """Returns images (N, 3, H, W), normalised; mask (N, P); hidden (N, M); code_map (N, P); codes (N, M)."""
        pixels, hidden, views = batch["pixels"], batch["hidden"], self.settings.views
        rows, columns = self.settings.model.backbone.grid
        mask = torch.zeros(len(pixels), rows * columns, dtype=torch.bool, device=pixels.device)
        mask.scatter_(1, hidden, True)
        code_map = self._code_map(batch)
        if code_map.shape != mask.shape:
            raise SettingsError(
                f"The tokenizer makes {math.prod(code_map.shape[1:])} codes of a picture, but the network has "
                f"{rows}x{columns} patches. Set masked.views.code_size to pictures of which it makes as many."
            )
        return {
            "images": normalised(pixels, views.mean, views.std),
            "mask": mask,
            "hidden": hidden,
            "code_map": code_map,
            "codes": code_map.gather(1, hidden),
        }

    def before_first_step(self, batches: Iterator[StageBatch]) -> None:
        """Needs nothing of the data but codes that the network has rows for; raises SettingsError if it has not."""
        highest = int(next(batches)["code_map"].max())
        if highest >= self.settings.model.num_visual_tokens:
            raise SettingsError(
                f"The tokenizer made the code {highest}, but the network has {self.settings.model.num_visual_tokens} "
                "visual tokens; set num_visual_tokens to the number of the tokenizer's codes."
            )

    def after_step(self, iteration: int) -> None:
        """Nothing follows a step."""

    def gauges(self, batches: Iterable[StageBatch]) -> dict[str, float]:
        """Measures both guesses; see GuessCounts.gauges. Without batches: the codes that training has seen."""
        return self._counts(batches).gauges() or seen_gauges(add_up(self.network.seen_codes.clone()))

    def gate(self, history: Sequence[GaugeRow]) -> Verdict:
        """Says whether fine-tuning may build on the network; see masked_gauges.judge."""
        return judge(self.settings, history)

    def pictures(self, folder: Path, batches: Iterable[StageBatch]) -> dict[str, Path]:
        """Draws pictures with masks, true and guessed codes, and how well each code is guessed."""
        counts, first = GuessCounts.empty(self.settings.model.num_visual_tokens), None
        for batch in batches:
            logits = self._logits(batch)
            counts.add(logits, batch["codes"])
            first = (batch, logits) if first is None else first
        if first is None:
            return {}
        grid, views = self.settings.model.backbone.grid, self.settings.views
        drawn = draw_guesses(folder / "codes_of_hidden_patches.png", *first, grid, views)
        return {
            "Hidden patches and their codes: true, and as guessed": drawn,
            "How well each code is guessed": draw_codes(folder / "accuracy_of_each_code.png", counts),
        }

    def view(self, picture: Image.Image) -> Tensor:
        """Returns (3, H, W), as for evaluating a classifier: short side at 8/7, the middle, normalised."""
        return self._evaluation(picture)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Returns class_token and mean (N, C) after the last block and the norm, of images (N, 3, H, W), not hidden."""
        seen = self.model.backbone.features(images)
        return {"class_token": seen.class_token, "mean": seen.patch_tokens.mean(dim=1)}

    def checkpoint_files(self) -> dict[str, dict[str, object]]:
        """Returns one file with unilm's keys, named as model folders name it, so that training starts from there."""
        return {WRITTEN_WEIGHT_FILE: masked_content(self.model)}

    def _code_map(self, batch: StageBatch) -> Tensor:
        """Returns the codes (N, P) of all patches, from the cache where there is one."""
        seen = batch.get("code_pixels", batch["pixels"])
        if self._cache is None:
            return self.tokenizer.tokenize(unit_range(seen))
        return self._cache.codes(batch["key"], lambda places: self.tokenizer.tokenize(unit_range(seen[places])))

    def _logits(self, batch: StageBatch) -> Tensor:
        logits: Tensor = self.model(batch["images"], batch["mask"], batch["hidden"])
        return logits

    def _counts(self, batches: Iterable[StageBatch]) -> GuessCounts:
        counts = GuessCounts.empty(self.settings.model.num_visual_tokens)
        for batch in batches:
            counts.add(self._logits(batch), batch["codes"])
        return counts
