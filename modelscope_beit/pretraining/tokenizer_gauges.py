"""How good a tokenizer is, on pictures that it is not trained on: use of its codes, reconstruction; and its gate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.pretraining.codebook import Codebook
from modelscope_beit.pretraining.stage import GaugeRow, Verdict
from modelscope_beit.pretraining.vq_kd import Tokenized, reconstruction_cosine
from modelscope_beit.settings.tokenizer import TokenizerSettings

# Of the codes that as many patches would reach if all were equally frequent. Released tokenizers: 97 and 100 %.
LEAST_USE = 0.25
PUBLISHED_USE = (97, 100)
# Of what the mean feature leaves unexplained.
LEAST_GAIN = 0.1
# From the log of somebody who trained a variant on 250,000 pictures (unilm issue 1556).
REPORTED_COSINE = 0.805
_SHARE_OF_BEST = 0.9


@dataclass
class TokenizerMeter:
    """Sums over patches. counts: (K,), of the codes. direction: (E,), of the targets at length 1."""

    counts: Tensor
    direction: Tensor
    patches: int = 0
    cosine: float = 0.0
    distance: float = 0.0

    @classmethod
    def empty(cls, settings: TokenizerSettings) -> "TokenizerMeter":
        """Returns a meter that has seen nothing."""
        counts = torch.zeros(settings.codebook.num_codes, dtype=torch.int64)
        return cls(counts, torch.zeros(settings.target_width, dtype=torch.float64))

    @torch.no_grad()
    def add(self, tokenized: Tokenized, targets: Tensor) -> None:
        """Counts a batch; targets: (N, P, E)."""
        quantized = tokenized.quantized
        self.counts += torch.bincount(quantized.numbers.flatten(), minlength=len(self.counts)).cpu()
        self.direction += F.normalize(targets.double(), dim=-1).sum(dim=(0, 1)).cpu()
        self.patches += quantized.numbers.numel()
        self.cosine += float(reconstruction_cosine(tokenized.reconstruction.double(), targets).sum())
        self.distance += float((quantized.features * quantized.vectors).sum(dim=-1).double().sum())

    def gauges(self) -> dict[str, float]:
        """Returns, of all patches added; nothing if there were none:

        aside_cosine: between reconstruction and target. constant_cosine: the same of the best constant answer.
        code_cosine: between a feature and its code. codes_used: how many were chosen; code_use: in percent of all;
        code_perplexity: how many equally frequent codes would carry as much; patches_measured.
        """
        if not self.patches:
            return {}
        used = int((self.counts > 0).sum())
        return {
            "aside_cosine": self.cosine / self.patches,
            "constant_cosine": float(self.direction.norm()) / self.patches,
            "code_cosine": self.distance / self.patches,
            "codes_used": float(used),
            "code_use": 100 * used / len(self.counts),
            "code_perplexity": perplexity(self.counts),
            "patches_measured": float(self.patches),
        }


def perplexity(counts: Tensor) -> float:
    """Returns e to the entropy of what was counted: 1 if all is one code, their number if all are equally frequent."""
    shares = counts[counts > 0].double() / counts.sum()
    return float((-(shares * shares.log()).sum()).exp())


def remembered_gauges(codebook: Codebook) -> dict[str, float]:
    """Returns how codes were used in training, of all processes, as far back as their moving averages remember.

    The same names as TokenizerMeter.gauges has, of use alone; nothing if the codebook has not learned yet.
    """
    memory = 1 / (1 - codebook.settings.decay)  # in steps
    usage = codebook.usage.double().cpu()
    if not int(codebook.steps):
        return {}
    # What is left of one feature, so many steps ago.
    used = int((usage >= math.exp(-1) / memory).sum())
    return {
        "codes_used": float(used),
        "code_use": 100 * used / len(usage),
        "code_perplexity": perplexity(usage),
        "patches_measured": float(usage.sum()) * memory,
    }


def reachable_codes(num_codes: int, patches: float) -> float:
    """Returns how many codes so many patches would choose on average if all codes were equally frequent."""
    return num_codes * -math.expm1(-patches / num_codes)


def judge_tokenizer(settings: TokenizerSettings, history: Sequence[GaugeRow]) -> Verdict:
    """Returns whether codes with such gauges, oldest first, are worth guessing; reasons against come first.

    Where no pictures are set aside, as of a stream, what was measured in training counts.
    """
    kind = "aside" if any("aside_cosine" in row for row in history) else "train"
    rows = [row for row in history if f"{kind}_cosine" in row and "codes_used" in row]
    if not rows:
        return Verdict(False, ("Nothing was measured: no pictures were set aside (run.gauge_pictures), or too few.",))
    against: list[str] = []
    in_favour: list[str] = []
    last = rows[-1]
    gains = [_gain(row, kind) for row in rows]
    (against if gains[-1] < LEAST_GAIN else in_favour).append(_about_reconstruction(last, kind))
    reachable = reachable_codes(settings.codebook.num_codes, last["patches_measured"])
    is_collapsed = last["codes_used"] < LEAST_USE * reachable
    (against if is_collapsed else in_favour).append(_about_codes(settings, last, reachable, is_collapsed=is_collapsed))
    best = max(gains)
    if best > 0 and gains[-1] < _SHARE_OF_BEST * best:
        against.append(
            f"The reconstruction was better before: what it gains over a constant fell from {100 * best:.1f} % to "
            f"{100 * gains[-1]:.1f} %. Lower run.lr, and look at the gradient norm."
        )
    return Verdict(not against, (*against, *in_favour))


def _cosines(row: GaugeRow, kind: str) -> tuple[float, float]:
    """Returns that of the reconstruction, and that of the best constant answer; kind: "aside" or "train"."""
    return row[f"{kind}_cosine"], row["constant_cosine" if kind == "aside" else "train_constant_cosine"]


def _gain(row: GaugeRow, kind: str) -> float:
    """Returns the share of what a constant answer leaves that the reconstruction explains."""
    cosine, constant = _cosines(row, kind)
    return (cosine - constant) / (1 - constant) if constant < 1 else 0.0


def _about_reconstruction(row: GaugeRow, kind: str) -> str:
    cosine, constant = _cosines(row, kind)
    where = "on pictures set aside" if kind == "aside" else "on the pictures of training"
    told = (
        f"The cosine between reconstruction and teacher is {cosine:.3f} {where}; the best "
        f"constant answer has {constant:.3f}, so {100 * _gain(row, kind):.1f} % of the rest is explained "
        f"(at least {100 * LEAST_GAIN:.0f} % is wanted; others reported a cosine of {REPORTED_COSINE} for CLIP)"
    )
    if _gain(row, kind) < LEAST_GAIN:
        return f"{told}: the codes say little about the pictures. Train longer, or choose another teacher."
    return f"{told}."


def _about_codes(settings: TokenizerSettings, row: GaugeRow, reachable: float, *, is_collapsed: bool) -> str:
    low, high = PUBLISHED_USE
    used = row["codes_used"]
    told = (
        f"{used:.0f} of {settings.codebook.num_codes} codes are in use, {100 * used / reachable:.0f} % of those that "
        f"{row['patches_measured']:.0f} patches could reach (at least {100 * LEAST_USE:.0f} % is wanted; released "
        f"tokenizers use {low} to {high} % of theirs); their perplexity is {row['code_perplexity']:.0f}"
    )
    if is_collapsed:
        return f"{told}: the codebook has collapsed. Take fewer codes, more pictures, or codebook.revive_after."
    return f"{told}."
