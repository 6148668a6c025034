"""The tokenizer (VQ-KD) as a stage of the loop: crops, the teacher's features, the loss, the codebook, gauges."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from modelscope_beit.errors import ImageError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.fixed_steps import Pixels, apply_fixed_steps
from modelscope_beit.images.random_crop import random_resized_crop
from modelscope_beit.pretraining.all_processes import count_processes
from modelscope_beit.pretraining.codebook import Quantized, joined
from modelscope_beit.pretraining.feature_cache import FeatureCache
from modelscope_beit.pretraining.stage import GaugeRow, StageBatch, Verdict
from modelscope_beit.pretraining.teachers import Teacher
from modelscope_beit.pretraining.tokenizer_files import TOKENIZER_FILE, tokenizer_content
from modelscope_beit.pretraining.tokenizer_gauges import TokenizerMeter, judge_tokenizer, remembered_gauges
from modelscope_beit.pretraining.tokenizer_pictures import draw_code_patches, draw_curves, draw_token_maps
from modelscope_beit.pretraining.vq_kd import Tokenizer, reconstruction_cosine
from modelscope_beit.settings.augmentation_steps import RandomResizedCrop
from modelscope_beit.settings.preprocessing import CenterCrop, Resize, evaluation_steps
from modelscope_beit.settings.tokenizer import CropSettings

# Resized side to crop, as in unilm: 256 to 224.
_CROP_PCT = 0.875
_MIDDLE_GREY = (127.5,) * 3


class TokenizerLoss(nn.Module):
    """The tokenizer and its loss: what the loop trains.

    learned_from: what was quantized since the codebook last learned; in training only.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.learned_from: list[Quantized] = []

    def forward(self, batch: StageBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns 1 - the mean cosine to the teacher's features, plus the commitment, and both of them.

        constant_cosine: that of the answer that is best for all patches of the batch alike.
        """
        found = self.tokenizer(batch["images"])
        cosine = reconstruction_cosine(found.reconstruction, batch["targets"]).mean()
        constant = F.normalize(batch["targets"].float(), dim=-1).mean(dim=(0, 1)).norm()
        commitment = found.quantized.commitment
        if self.training:
            self.learned_from.append(found.quantized.detached())
        return 1 - cosine + commitment, {
            "cosine": cosine.detach(),
            "constant_cosine": constant,
            "commitment": commitment.detach(),
        }


class TokenizerStage:
    """See pretraining.stage.Stage.

    crops: how pictures are cut. seed: of the start of the codebook, and of what revived codes are moved onto.
    cache: where the teacher's features are kept; only for fixed crops, since a random one never comes again.
    """

    name = "tokenizer"
    no_decay: tuple[str, ...] = ("cls_token", "pos_embed")

    def __init__(
        self,
        tokenizer: Tokenizer,
        teacher: Teacher,
        *,
        crops: CropSettings | None = None,
        seed: int = 0,
        cache: FeatureCache | None = None,
    ) -> None:
        self.network = TokenizerLoss(tokenizer)
        self.teacher = teacher
        self.crops = crops or CropSettings()
        self.crops.check_cache(is_wanted=cache is not None)
        self._cache, self._seed = cache, seed
        size = tokenizer.settings.image_size
        steps = evaluation_steps(size, mean=_MIDDLE_GREY, std=_MIDDLE_GREY, crop_pct=_CROP_PCT)
        self._view = EvaluationTransform(steps)
        self._fixed = [step for step in steps if isinstance(step, Resize | CenterCrop)]
        self._random = RandomResizedCrop(
            size, scale=self.crops.scale, ratio=self.crops.ratio, interpolation="bicubic", backend="pillow"
        )
        self._history: list[GaugeRow] = []

    @property
    def tokenizer(self) -> Tokenizer:
        """The network itself, without its loss."""
        return self.network.tokenizer

    def move(self, device: torch.device) -> None:
        """Takes the teacher to the device."""
        self.teacher.to(device)

    def sample(self, picture: Image.Image, rng: np.random.Generator) -> dict[str, Tensor]:
        """Returns `pixels` (3, H, W), bytes: a random crop, perhaps flipped, or the middle if crops are fixed."""
        if picture.mode != "RGB":
            raise ImageError(f"An RGB picture is expected, not one of mode {picture.mode}; read it with read_image.")
        if self.crops.fixed:
            pixels: Pixels = apply_fixed_steps(picture, self._fixed)
        else:
            pixels = random_resized_crop(picture, self._random, rng)
            if rng.random() < self.crops.flip:
                pixels = np.asarray(pixels)[:, ::-1]
        return {"pixels": torch.from_numpy(np.ascontiguousarray(np.asarray(pixels).transpose(2, 0, 1)))}

    def complete(self, batch: StageBatch) -> StageBatch:
        """Returns images (N, 3, H, W), float from 0 to 1, and the teacher's features of them, targets (N, P, E)."""
        pixels = batch["pixels"]
        images = pixels.float() / 255
        if self._cache is None:
            return {"images": images, "targets": self.teacher(images)}
        return {"images": images, "targets": self._cache.features(pixels, lambda rows: self.teacher(images[rows]))}

    @torch.no_grad()
    def before_first_step(self, batches: Iterator[StageBatch]) -> None:
        """Starts the codebook by k-means on the features of the first batch, or of so many that codes can differ."""
        codebook = self.tokenizer.codebook
        if bool(codebook.is_started):
            return
        features: list[Tensor] = []
        for batch in batches:
            features.append(self.tokenizer.encode(batch["images"]))
            if count_processes() * sum(some.shape[0] * some.shape[1] for some in features) >= len(codebook.codes):
                break
        codebook.start(torch.cat(features), seed=self._seed)

    def after_step(self, iteration: int) -> None:
        """Lets the codebook learn from all that was quantized for the step, in all processes."""
        self.tokenizer.codebook.learn(self.network.learned_from, seed=self._seed)
        self.network.learned_from.clear()

    def gauges(self, batches: Iterable[StageBatch]) -> dict[str, float]:
        """Measures codes and reconstruction; see TokenizerMeter.gauges. Without batches: what training remembers."""
        meter = TokenizerMeter.empty(self.tokenizer.settings)
        for batch in batches:
            meter.add(self.tokenizer(batch["images"]), batch["targets"])
        return meter.gauges() or remembered_gauges(self.tokenizer.codebook)

    def gate(self, history: Sequence[GaugeRow]) -> Verdict:
        """Says whether masked image modelling may build on the codes; see judge_tokenizer."""
        self._history = list(history)
        return judge_tokenizer(self.tokenizer.settings, history)

    def pictures(self, folder: Path, batches: Iterable[StageBatch]) -> dict[str, Path]:
        """Draws the maps of codes of some pictures, the patches nearest to often chosen codes, and the curves."""
        tokenizer, drawn = self.tokenizer, {}
        seen = [(batch["images"], tokenizer(batch["images"]).quantized) for batch in batches]
        if seen:
            images, quantized = torch.cat([images for images, _ in seen]), joined([found for _, found in seen])
            maps = folder / "token_maps.png"
            grid = tokenizer.settings.encoder.grid
            drawn["Pictures and their codes, alike codes in alike colours"] = draw_token_maps(
                maps, images, quantized.numbers, tokenizer.codebook.codes, grid
            )
            drawn["The patches nearest to the codes that are chosen most often, a row each"] = draw_code_patches(
                folder / "nearest_patches.png", images, quantized, tokenizer.settings.patch_size
            )
        if len(self._history) > 1:
            drawn["Reconstruction and use of the codes"] = draw_curves(folder / "reconstruction.png", self._history)
        return drawn

    def view(self, picture: Image.Image) -> Tensor:
        """Returns (3, H, W) from -1 to 1: short side at 8/7, the middle."""
        return self._view(picture)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the mean (N, C) of the encoder's patch tokens; its class token has learned nothing of its own."""
        return {"mean": self.tokenizer.encoder_tokens((images + 1) / 2).mean(dim=1)}

    def checkpoint_files(self) -> dict[str, dict[str, object]]:
        """Returns the one file, which open_tokenizer reads as it does unilm's."""
        tensors, meta = tokenizer_content(self.tokenizer)
        own = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
        return {TOKENIZER_FILE: {"model": own, "meta": meta}}
