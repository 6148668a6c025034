"""Gauges against sums written anew, and what the gate says to runs that went well or badly."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from modelscope_beit.pretraining.codebook import Codebook, Quantized
from modelscope_beit.pretraining.tokenizer_gauges import (
    TokenizerMeter,
    judge_tokenizer,
    perplexity,
    reachable_codes,
    remembered_gauges,
)
from modelscope_beit.pretraining.vq_kd import Tokenized
from modelscope_beit.settings.tokenizer import CodebookSettings, TokenizerSettings
from tiny_tokenizer import tiny_settings, unit


def test_gauges__are_the_means_over_all_patches() -> None:
    rng = np.random.default_rng(0)
    meter, numbers, guesses, targets, features, vectors = TokenizerMeter.empty(tiny_settings()), [], [], [], [], []
    for count in (3, 1):
        parts = [rng.normal(size=(count, 16, width)) for width in (12, 12, 8, 8)]
        drawn = rng.integers(0, 5, (count, 16))
        one, other = (torch.from_numpy(unit(part)) for part in parts[2:])
        quantized = Quantized(torch.from_numpy(drawn), one, other, torch.zeros(()))
        meter.add(Tokenized(quantized, torch.from_numpy(parts[0])), torch.from_numpy(parts[1]))
        for kept, part in zip((guesses, targets, features, vectors), parts, strict=True):
            kept.append(unit(part).reshape(-1, part.shape[2]))
        numbers.append(drawn.reshape(-1))
    guess, target, feature, vector = (np.concatenate(kept) for kept in (guesses, targets, features, vectors))
    counts = np.bincount(np.concatenate(numbers))
    mean = target.mean(axis=0)
    constant = float((target @ (mean / np.linalg.norm(mean))).mean())
    assert meter.gauges() == pytest.approx(
        {
            "aside_cosine": (guess * target).sum(axis=1).mean(),
            "constant_cosine": constant,
            "code_cosine": (feature * vector).sum(axis=1).mean(),
            "codes_used": 5,
            "code_use": 100 * 5 / 24,
            "code_perplexity": math.exp(entropy(counts)),
            "patches_measured": 64,
        }
    )


def test_gauges__of_nothing_are_none() -> None:
    assert TokenizerMeter.empty(tiny_settings()).gauges() == {}


def test_perplexity__of_one_code_and_of_equal_ones() -> None:
    assert perplexity(torch.tensor([0, 9, 0])) == pytest.approx(1)
    assert perplexity(torch.tensor([4, 4, 4, 0])) == pytest.approx(3)


def test_reachable_codes__is_what_drawing_gives() -> None:
    drawn = [len(np.unique(np.random.default_rng(seed).integers(0, 200, 300))) for seed in range(300)]
    # 200 * (1 - (199 / 200) ** 300); the exponential is its limit.
    assert reachable_codes(200, 300) == pytest.approx(np.mean(drawn), rel=0.01)
    assert reachable_codes(8192, 1) == pytest.approx(1, rel=1e-3)


def row(**changes: float) -> dict[str, float]:
    good = {"iteration": 100, "aside_cosine": 0.8, "constant_cosine": 0.4, "codes_used": 950.0}
    return good | {"code_perplexity": 600.0, "patches_measured": 1e5, "code_use": 95.0} | changes


SETTINGS = TokenizerSettings(codebook=CodebookSettings(num_codes=1000))


def test_judge_tokenizer__goes_on_and_says_why() -> None:
    verdict = judge_tokenizer(SETTINGS, [row(aside_cosine=0.5), row()])
    assert verdict.goes_on and len(verdict.reasons) == 2
    assert "0.800" in verdict.reasons[0] and "66.7 % of the rest" in verdict.reasons[0]
    assert "950 of 1000 codes are in use, 95 %" in verdict.reasons[1] and "97 to 100 %" in verdict.reasons[1]


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([], "Nothing was measured"),
        ([{"iteration": 1.0, "train_cosine": 0.5}], "Nothing was measured"),
        ([row(aside_cosine=0.43)], "the codes say little about the pictures"),
        ([row(aside_cosine=0.3)], "the codes say little about the pictures"),
        ([row(codes_used=100.0)], "the codebook has collapsed"),
        ([row(), row(aside_cosine=0.7)], "was better before"),
    ],
)
def test_judge_tokenizer__stops_and_says_why_first(history: list, why: str) -> None:
    verdict = judge_tokenizer(SETTINGS, history)
    assert not verdict.goes_on and why in verdict.reasons[0]


def test_remembered_gauges__are_of_the_latest_steps() -> None:
    """One of 40 codes is chosen in every step, one only in the first; a memory of 20 steps forgets the latter."""
    book = Codebook(CodebookSettings(num_codes=40, code_width=4, decay=0.95, start="random"))
    assert remembered_gauges(book) == {}
    vector = torch.ones(1, 50, 4)
    for step in range(300):
        numbers = torch.full((1, 50), 3)
        numbers[0, 0] = 7 if step == 0 else 9 if step % 10 == 0 else 3
        book.learn([Quantized(numbers, vector, vector, torch.zeros(()))], seed=0)
    found = remembered_gauges(book)
    assert found["codes_used"] == 2 and found["code_use"] == pytest.approx(5)
    assert found["patches_measured"] == pytest.approx(50 * 20, rel=1e-3)
    assert 1.0 < found["code_perplexity"] < 1.1


def test_judge_tokenizer__of_a_stream_goes_by_what_was_measured_in_training() -> None:
    streamed = {"train_cosine": 0.8, "train_constant_cosine": 0.4, "codes_used": 950.0, "patches_measured": 1e5}
    streamed |= {"code_perplexity": 600.0}
    verdict = judge_tokenizer(SETTINGS, [streamed | {"train_cosine": 0.5}, streamed])
    assert verdict.goes_on and "0.800 on the pictures of training" in verdict.reasons[0]
    assert not judge_tokenizer(SETTINGS, [streamed | {"train_cosine": 0.42}]).goes_on
    assert not judge_tokenizer(SETTINGS, [streamed | {"codes_used": 9.0}]).goes_on


def test_judge_tokenizer__asks_for_no_more_codes_than_so_many_patches_can_reach() -> None:
    # 40 patches cannot choose 250 of 1000 codes.
    assert judge_tokenizer(SETTINGS, [row(patches_measured=40.0, codes_used=30.0)]).goes_on
