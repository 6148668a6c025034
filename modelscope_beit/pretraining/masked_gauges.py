"""How far masked image modelling has come: guesses of hidden codes on pictures set aside, and the gate.

Two lines to beat, both of the pictures measured: to guess the commonest code each time, and the entropy of the codes,
which is the least loss of a network that knows how common each code is and nothing of the picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.pretraining.stage import GaugeRow, Verdict
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings

# Of the two guesses; see MaskedPretrainingModel.forward.
GUESSES = ("final", "aggregated")

# Accuracy in percent on hidden patches with 8192 codes and 14 x 14 patches: BEiT v1 base, whose codes are DALL-E's, and
# BEiT v2 large, both after 300 epochs of ImageNet-1k. Source: the authors, in issues 383 and 885 of unilm.
PUBLISHED_V1_BASE, PUBLISHED_V2_LARGE = 4.96, 16.0
_PUBLISHED_CODES, _PUBLISHED_WIDTH = 8192, 768
# A run whose accuracy has fallen below this share of its best is on its way down.
_SHARE_OF_BEST = 0.8
# Codes of a lower perplexity say next to nothing.
_FEWEST_CODES = 2.0


@dataclass
class GuessCounts:
    """What was guessed on some pictures: V numbers for each code, summed over their hidden patches.

    occurred, right, guessed: (V,) int64: how often each code was to be guessed, was guessed rightly (by the final
    guess), and was guessed. sums: name -> sum over patches. total: patches.
    """

    occurred: Tensor
    right: Tensor
    guessed: Tensor
    sums: dict[str, float] = field(default_factory=dict)
    total: int = 0

    @classmethod
    def empty(cls, num_codes: int) -> "GuessCounts":
        """Returns counts of nothing."""
        occurred, right, guessed = torch.zeros(3, num_codes, dtype=torch.int64)
        return cls(occurred, right, guessed)

    def add(self, logits: Tensor, codes: Tensor) -> None:
        """Adds the guesses of some pictures: logits (G, N, M, V), codes (N, M)."""
        num_codes, codes = len(self.occurred), codes.cpu()
        guesses = logits.argmax(dim=-1).cpu()  # (G, N, M)
        self.total += codes.numel()
        self.occurred += torch.bincount(codes.flatten(), minlength=num_codes)
        self.guessed += torch.bincount(guesses[0].flatten(), minlength=num_codes)
        self.right += torch.bincount(codes[guesses[0] == codes], minlength=num_codes)
        for name, guess, scores in zip(GUESSES, guesses, logits.float().cpu(), strict=False):
            loss = F.cross_entropy(scores.flatten(0, 1), codes.flatten(), reduction="sum")
            self._sum(f"loss_{name}", float(loss))
            self._sum(f"right_{name}", float((guess == codes).sum()))

    def gauges(self) -> dict[str, float]:
        """Returns accuracies in percent and losses of each guess, and what the codes alone would allow.

        aside_accuracy_*, aside_loss_*: of hidden patches. commonest_accuracy: of guessing the commonest code.
        code_entropy, code_perplexity: of the codes to be guessed. guessed_codes: percent of the codes that occurred
        which were ever guessed; known_codes: percent which were guessed rightly at least once.
        """
        if not self.total:
            return {}
        found = {
            f"aside_accuracy_{name}": 100 * self.sums[f"right_{name}"] / self.total
            for name in GUESSES
            if f"right_{name}" in self.sums
        }
        found |= {f"aside_{name}": value / self.total for name, value in self.sums.items() if name.startswith("loss_")}
        use = code_use(self.occurred)
        return found | {
            "commonest_accuracy": use.commonest,
            "code_entropy": use.entropy,
            "code_perplexity": use.perplexity,
            "guessed_codes": 100 * int(((self.guessed > 0) & (self.occurred > 0)).sum()) / use.occurring,
            "known_codes": 100 * int((self.right > 0).sum()) / use.occurring,
        }

    def _sum(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value


@dataclass(frozen=True)
class CodeUse:
    """How codes were used. commonest: percent of the commonest one. entropy: the least loss without looking.

    occurring: codes that occurred, if that was counted.
    """

    commonest: float
    entropy: float
    occurring: int = 0

    @property
    def perplexity(self) -> float:
        """As many codes, each equally often, would be as hard to guess without looking."""
        return math.exp(self.entropy)


def code_use(occurred: Tensor) -> CodeUse:
    """Returns how codes were used that occurred so often each (V,), not all 0."""
    shares = occurred[occurred > 0].cpu().double() / int(occurred.sum())
    return CodeUse(100 * float(shares.max()), float(-(shares * shares.log()).sum()), len(shares))


def seen_gauges(seen_codes: Tensor) -> dict[str, float]:
    """Returns what codes (V,), counted in training, would allow; nothing if none were."""
    if not int(seen_codes.sum()):
        return {}
    use = code_use(seen_codes)
    return {"train_commonest_accuracy": use.commonest, "train_code_entropy": use.entropy}


def judge(settings: MaskedPretrainingSettings, history: Sequence[GaugeRow]) -> Verdict:
    """Returns whether fine-tuning may build on a network with such gauges, oldest first; reasons against come first.

    Where no pictures are set aside, as of a stream, what was measured in training counts.
    """
    kind = "aside" if any(f"aside_accuracy_{GUESSES[0]}" in row for row in history) else "train"
    prefix = "" if kind == "aside" else "train_"
    rows = [row for row in history if {f"{kind}_accuracy_{GUESSES[0]}", f"{prefix}code_entropy"} <= row.keys()]
    if not rows:
        return Verdict(False, ("Nothing was measured: no pictures were set aside (run.gauge_pictures), or too few.",))
    last = rows[-1]
    use = CodeUse(last[f"{prefix}commonest_accuracy"], last[f"{prefix}code_entropy"])
    against, in_favour = _of_guesses(settings, last, kind, use)
    if use.perplexity < _FEWEST_CODES:
        against.append(
            f"The codes are as good as one: their perplexity is {use.perplexity:.2f} of "
            f"{settings.model.num_visual_tokens}. Train another tokenizer."
        )
    accuracies = [row[f"{kind}_accuracy_{GUESSES[0]}"] for row in rows]
    if accuracies[-1] < _SHARE_OF_BEST * max(accuracies):
        against.append(
            f"The accuracy fell from {max(accuracies):.2f} % to {accuracies[-1]:.2f} %. Lower run.lr or run.clip, and "
            "look at the gradient norm."
        )
    (against if _is_below_band(settings, accuracies[-1]) else in_favour).append(_band(settings, accuracies[-1]))
    return Verdict(not against, (*against, *in_favour))


def _of_guesses(
    settings: MaskedPretrainingSettings, row: GaugeRow, kind: str, use: CodeUse
) -> tuple[list[str], list[str]]:
    """Returns what each guess says against going on, and for it; kind: "aside" or "train", what was measured."""
    against, in_favour = [], []
    for name in GUESSES[: 2 if settings.head_layers else 1]:
        accuracy, loss = row[f"{kind}_accuracy_{name}"], row[f"{kind}_loss_{name}"]
        told = (
            f"The {name} guess is right for {accuracy:.2f} % of the hidden patches{' of training' * (kind == 'train')} "
            f"(the commonest code: {use.commonest:.2f} %), its loss is {loss:.3f} (entropy of the codes: "
            f"{use.entropy:.3f})"
        )
        if accuracy <= use.commonest or loss >= use.entropy:
            against.append(f"{told}: it does not look at the pictures. Train longer, or with another run.lr.")
        else:
            in_favour.append(f"{told}.")
    return against, in_favour


def _is_published_size(settings: MaskedPretrainingSettings) -> bool:
    backbone = settings.model.backbone
    is_large_enough = backbone.width >= _PUBLISHED_WIDTH and backbone.grid == (14, 14)
    return is_large_enough and settings.model.num_visual_tokens == _PUBLISHED_CODES


def _is_below_band(settings: MaskedPretrainingSettings, accuracy: float) -> bool:
    return _is_published_size(settings) and accuracy < PUBLISHED_V1_BASE


def _band(settings: MaskedPretrainingSettings, accuracy: float) -> str:
    band = (
        f"published after 300 epochs of ImageNet-1k: {PUBLISHED_V1_BASE} % by BEiT v1 base, about "
        f"{PUBLISHED_V2_LARGE:.0f} % by BEiT v2 large"
    )
    if not _is_published_size(settings):
        return f"Another size or other codes than the published ones, so {accuracy:.2f} % has no band ({band})."
    where = "below" if accuracy < PUBLISHED_V1_BASE else "above" if accuracy > PUBLISHED_V2_LARGE else "within"
    return f"{accuracy:.2f} % lies {where} the band ({band})."
