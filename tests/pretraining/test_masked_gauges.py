"""Counts of guesses against counting by hand, and what the gate makes of gauges."""

import math
import re
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from masked_runs import tiny_masked
from modelscope_beit.pretraining.masked_gauges import GuessCounts, judge, seen_gauges
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings

GOOD = {
    "aside_accuracy_final": 15.0,
    "aside_accuracy_aggregated": 12.0,
    "aside_loss_final": 5.0,
    "aside_loss_aggregated": 5.5,
    "commonest_accuracy": 1.0,
    "code_entropy": 8.0,
    "code_perplexity": 2981.0,
}
PUBLISHED = MaskedPretrainingSettings()


def test_guess_counts__are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    counts = GuessCounts.empty(7)
    logits = torch.randn(2, 9, 5, 7, generator=generator)
    codes = torch.randint(6, (9, 5), generator=generator)
    logits[0].scatter_add_(2, codes[:, :, None], torch.full((9, 5, 1), 1.5))
    for part in (slice(0, 4), slice(4, 9)):
        counts.add(logits[:, part], codes[part])
    gauges, truth = counts.gauges(), codes.flatten().numpy()
    for name, scores in zip(("final", "aggregated"), logits, strict=True):
        flat = scores.flatten(0, 1)
        assert gauges[f"aside_accuracy_{name}"] == pytest.approx(100 * accuracy_score(truth, flat.argmax(1).numpy()))
        wanted = log_loss(truth, flat.double().softmax(1).numpy(), labels=list(range(7)))
        assert gauges[f"aside_loss_{name}"] == pytest.approx(wanted, rel=1e-5)
    shares = [(truth == code).mean() for code in range(6)]
    assert gauges["commonest_accuracy"] == pytest.approx(100 * max(shares))
    assert gauges["code_entropy"] == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert gauges["code_perplexity"] == pytest.approx(math.exp(gauges["code_entropy"]))
    guessed = logits[0].flatten(0, 1).argmax(1).numpy()
    known = [code for code in range(6) if ((truth == code) & (guessed == code)).any()]
    assert gauges["known_codes"] == pytest.approx(100 * len(known) / 6)
    assert gauges["guessed_codes"] == pytest.approx(100 * len({*guessed} & {*truth}) / 6)
    assert [int(counts.right[code]) for code in range(7)] == [
        int(((truth == code) & (guessed == code)).sum()) for code in range(7)
    ]


def test_guess_counts__of_one_guess_and_of_nothing():
    counts = GuessCounts.empty(3)
    assert counts.gauges() == {}
    counts.add(torch.zeros(1, 1, 2, 3), torch.tensor([[0, 0]]))
    gauges = counts.gauges()
    assert gauges["aside_loss_final"] == pytest.approx(math.log(3))
    assert (gauges["code_perplexity"], gauges["commonest_accuracy"]) == (1.0, 100.0)
    assert "aside_accuracy_aggregated" not in gauges


def test_judge__lets_a_good_network_pass_and_names_the_band():
    verdict = judge(PUBLISHED, [{**GOOD, "aside_accuracy_final": 7.0}, GOOD])
    assert verdict.goes_on
    assert any("right for 15.00 %" in reason for reason in verdict.reasons)
    assert verdict.reasons[-1].startswith("15.00 % lies within the band")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aside_accuracy_final": 0.9}, "The final guess .* does not look at the pictures"),
        ({"aside_loss_aggregated": 8.1}, "The aggregated guess .* does not look at the pictures"),
        ({"code_entropy": 0.4, "aside_loss_final": 0.1, "aside_loss_aggregated": 0.1}, "codes are as good as one"),
        ({"aside_accuracy_final": 4.0}, "4.00 % lies below the band"),
    ],
)
def test_judge__stops_and_says_why_first(changes, reason):
    verdict = judge(PUBLISHED, [{**GOOD, **changes}])
    assert not verdict.goes_on
    assert re.search(reason, verdict.reasons[0])


def test_judge__stops_a_run_that_has_fallen():
    verdict = judge(PUBLISHED, [{**GOOD, "aside_accuracy_final": 19.0}, GOOD])
    assert not verdict.goes_on and "fell from 19.00 % to 15.00 %" in verdict.reasons[0]


def test_judge__of_a_stream_goes_by_what_was_measured_in_training():
    row = {name.replace("aside", "train"): value for name, value in GOOD.items() if name.startswith("aside")}
    even, uneven = seen_gauges(torch.full((3000,), 5)), seen_gauges(torch.tensor([4, 1, 1]))
    verdict = judge(PUBLISHED, [row | even])
    assert verdict.goes_on
    told = "15.00 % of the hidden patches of training (the commonest code: 0.03 %), its loss is 5.000 (entropy of the"
    assert told in verdict.reasons[0] and f"{math.log(3000):.3f}" in verdict.reasons[0]
    assert "the commonest code: 66.67 %" in judge(PUBLISHED, [row | uneven]).reasons[0]
    assert not judge(PUBLISHED, [row | uneven]).goes_on
    assert "Nothing was measured" in judge(PUBLISHED, [row | seen_gauges(torch.zeros(5))]).reasons[0]


def test_judge__has_no_band_for_other_sizes():
    verdict = judge(tiny_masked(), [{**GOOD, "aside_accuracy_final": 4.0}])
    assert verdict.goes_on and "has no band" in verdict.reasons[-1]


def test_judge__without_gauges_and_without_extra_blocks():
    assert not judge(PUBLISHED, []).goes_on
    assert not judge(PUBLISHED, [{"gradient_norm": 1.0}]).goes_on
    first = {name: value for name, value in GOOD.items() if "aggregated" not in name}
    assert judge(replace(PUBLISHED, head_layers=0), [first]).goes_on
