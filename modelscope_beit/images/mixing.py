"""Mixing the pictures of a batch, and their labels alike: MixUp, CutMix, ResizeMix.

Numbers are drawn in the order in which mmcls 0.25 and timm 1.0.31 draw them, from the same distributions; given the
same numbers, the pictures are the same. Source: mmcls, models/utils/augment/; timm, data/mixup.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from modelscope_beit.images.fixed_steps import Box
from modelscope_beit.settings.mixing import (
    BatchCutMix,
    BatchMixup,
    BatchResizeMix,
    MixingSettings,
    OneOfMixings,
    TimmMixup,
)


@dataclass(frozen=True)
class _Drawn:
    """share: of the picture itself in its label, the rest being its partner's; of its pixels too, without a box.

    box: where the partner's pixels stand.
    """

    share: float = 1.0
    box: Box | None = None


def mix(
    images: torch.Tensor, targets: torch.Tensor, settings: MixingSettings, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the pictures and the targets mixed; what is given stays as it is.

    images: (N, 3, H, W), float. targets: (N, K), float: the share of each class, in rows that sum to 1, such as
    one-hot ones; so do those that come back. In mmcls's ways each picture's partner is drawn; timm's is the batch from
    behind. rng: where every random number comes from.
    """
    if isinstance(settings, TimmMixup):
        return _timm_mixup(images, targets, settings, rng)
    return _one_of(images, targets, settings, rng)


def _one_of(
    images: torch.Tensor, targets: torch.Tensor, settings: OneOfMixings, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    ends = np.cumsum([choice.prob for choice in settings.choices])
    # Probabilities such as 0.1 + 0.9 may not quite reach 1.
    place = int(ends.searchsorted(rng.random() * max(1.0, ends[-1]), side="right"))
    if place == len(ends):
        return images, targets
    choice = settings.choices[place]
    share = rng.beta(choice.alpha, choice.alpha)
    if isinstance(choice, BatchResizeMix):
        share = share * (choice.lam_max - choice.lam_min) + choice.lam_min
    partners = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    if isinstance(choice, BatchMixup):
        return _blended(images, images[partners], share), _blended(targets, targets[partners], share)
    drawn = _cutmix_box(images, share, choice, rng, last=0)
    others = images[partners]
    if isinstance(choice, BatchResizeMix):
        others = _shrunk(others, drawn, choice.interpolation)
    return _mixed(images, others, drawn), _blended(targets, targets[partners], drawn.share)


def _timm_mixup(
    images: torch.Tensor, targets: torch.Tensor, settings: TimmMixup, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    targets = targets * (1 - settings.label_smoothing) + settings.label_smoothing / targets.shape[1]
    if settings.mode == "batch":
        drawn = _timm_drawn(images, *_timm_share(settings, rng), settings, rng)
        return _mixed(images, images.flip(0), drawn), _blended(targets, targets.flip(0), drawn.share)
    count = len(images) if settings.mode == "elem" else len(images) // 2
    shares = _timm_shares(count, settings, rng)
    rows = [_timm_drawn(images, share, is_cutmix, settings, rng) for share, is_cutmix in zip(*shares, strict=True)]
    if settings.mode == "pair":
        # The picture in the middle of an odd batch stays alone.
        rows += [_Drawn()] * (len(images) % 2) + rows[::-1]
    partners = images.flip(0)
    mixed = [_mixed(images[row : row + 1], partners[row : row + 1], drawn) for row, drawn in enumerate(rows)]
    own = targets.new_tensor([drawn.share for drawn in rows])[:, None]  # (N, 1)
    return torch.cat(mixed), targets * own + targets.flip(0) * (1 - own)


def _timm_share(settings: TimmMixup, rng: np.random.Generator) -> tuple[float, bool]:
    """Returns the share of each picture itself, and whether the rest comes by CutMix."""
    mixup_alpha, cutmix_alpha = settings.mixup_alpha, _timm_cutmix_alpha(settings)
    if rng.random() >= settings.prob:
        return 1.0, False
    is_cutmix = cutmix_alpha > 0
    if is_cutmix and mixup_alpha > 0:
        is_cutmix = rng.random() < settings.switch_prob
    alpha = cutmix_alpha if is_cutmix else mixup_alpha
    return rng.beta(alpha, alpha), is_cutmix


def _timm_shares(count: int, settings: TimmMixup, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same for each picture or pair; (count,) single precision, as timm has it, and (count,) bool."""
    mixup_alpha, cutmix_alpha = settings.mixup_alpha, _timm_cutmix_alpha(settings)
    is_cutmix = np.full(count, cutmix_alpha > 0)
    if cutmix_alpha > 0 and mixup_alpha > 0:
        is_cutmix = rng.random(count) < settings.switch_prob
    cutmix_shares = rng.beta(cutmix_alpha, cutmix_alpha, count) if cutmix_alpha > 0 else np.ones(count)
    mixup_shares = rng.beta(mixup_alpha, mixup_alpha, count) if mixup_alpha > 0 else np.ones(count)
    shares = np.where(is_cutmix, cutmix_shares, mixup_shares).astype(np.float32)
    return np.where(rng.random(count) < settings.prob, shares, np.float32(1)), is_cutmix


def _timm_cutmix_alpha(settings: TimmMixup) -> float:
    return 1.0 if settings.cutmix_minmax is not None else settings.cutmix_alpha


def _timm_drawn(
    images: torch.Tensor, share: float, is_cutmix: bool, settings: TimmMixup, rng: np.random.Generator
) -> _Drawn:
    if not is_cutmix or share == 1:
        return _Drawn(float(share))
    return _cutmix_box(images, share, settings, rng, last=1)


def _mixed(images: torch.Tensor, partners: torch.Tensor, drawn: _Drawn) -> torch.Tensor:
    """Returns the pictures mixed with their partners."""
    if drawn.box is None:
        return images if drawn.share == 1 else _blended(images, partners, drawn.share)
    left, top, right, bottom = drawn.box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return mixed


def _shrunk(partners: torch.Tensor, drawn: _Drawn, interpolation: str) -> torch.Tensor:
    """Returns pictures of the same size that hold the whole of each partner inside the box."""
    assert drawn.box is not None, "CutMix always draws a box"
    left, top, right, bottom = drawn.box
    shrunk = torch.zeros_like(partners)
    if left < right and top < bottom:
        inside = functional.interpolate(partners, (bottom - top, right - left), mode=interpolation)
        shrunk[:, :, top:bottom, left:right] = inside
    return shrunk


def _blended(own: torch.Tensor, others: torch.Tensor, share: float) -> torch.Tensor:
    # Two products and a sum, not one fused operation: the last bit is that of the references.
    return own.mul(share).add_(others.mul(1 - share))


def _cutmix_box(
    images: torch.Tensor, share: float, settings: BatchCutMix | TimmMixup, rng: np.random.Generator, *, last: int
) -> _Drawn:
    """Returns the box of the partner, and the share of the picture itself that its label gets.

    last: 1 to give a box of odd sides all its pixels, and to let it reach the last place, as timm does; 0 for mmcls.
    """
    height, width = images.shape[-2:]
    if settings.cutmix_minmax is not None:
        low, high = settings.cutmix_minmax
        cut_height, cut_width = (
            int(rng.integers(int(side * low), max(int(side * high), int(side * low) + 1))) for side in (height, width)
        )
        top, left = int(rng.integers(0, height - cut_height + last)), int(rng.integers(0, width - cut_width + last))
        bottom, right = top + cut_height, left + cut_width
    else:
        ratio = np.sqrt(1 - share)
        cut_height, cut_width = int(height * ratio), int(width * ratio)
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        top, bottom = max(0, y - cut_height // 2), min(height, y + (cut_height + last) // 2)
        left, right = max(0, x - cut_width // 2), min(width, x + (cut_width + last) // 2)
    if settings.correct_lam or settings.cutmix_minmax is not None:
        share = 1 - (bottom - top) * (right - left) / (height * width)
    return _Drawn(float(share), (left, top, right, bottom))
