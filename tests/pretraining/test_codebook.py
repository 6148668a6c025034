"""The codebook against the algorithm written anew in NumPy, and its invariants."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modelscope_beit.pretraining.codebook import Codebook
from modelscope_beit.settings.tokenizer import CodebookSettings
from tiny_tokenizer import reference_quantizer, unit


def codebook(**settings: object) -> Codebook:
    torch.manual_seed(1)
    return Codebook(CodebookSettings(**{"num_codes": 16, "code_width": 8, "start": "random"} | settings)).double()  # type: ignore[arg-type]


def features(count: int = 40, seed: int = 2) -> torch.Tensor:
    return torch.randn(count // 10, 10, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_codebook__one_step_is_that_of_the_reference() -> None:
    book, given = codebook(), features().requires_grad_()
    before = book.codes.numpy().copy()
    found = book(given)
    book.learn([found], seed=0)
    numbers, chosen, commitment, after = reference_quantizer(given.detach().reshape(-1, 8).numpy(), before, 0.99)
    np.testing.assert_array_equal(found.numbers.flatten().numpy(), numbers)
    np.testing.assert_allclose(found.vectors.detach().reshape(-1, 8).numpy(), chosen, atol=1e-14)
    assert float(found.commitment.detach()) == pytest.approx(commitment, rel=1e-13)
    np.testing.assert_allclose(book.codes.numpy(), after, atol=1e-14)


def test_codebook__autocast_does_not_change_which_code_is_nearest() -> None:
    book = codebook(num_codes=2000, code_width=8).float()
    given = torch.randn(4, 200, 8, generator=torch.Generator().manual_seed(3))
    likeness = unit(given.double().reshape(-1, 8).numpy()) @ book.codes.double().numpy().T
    with torch.autocast("cpu", torch.bfloat16):
        found = book(given).numbers.flatten().numpy()
    assert (likeness.max(axis=1) - likeness[np.arange(800), found]).max() < 1e-6


def test_codebook__the_gradient_goes_straight_through_to_the_normalised_features() -> None:
    book, given = codebook(), features().requires_grad_()
    outside = torch.randn_like(given)
    found = book(given)
    (found.vectors * outside).sum().backward()
    again = features().requires_grad_()
    (F.normalize(again, dim=-1) * outside).sum().backward()
    torch.testing.assert_close(given.grad, again.grad)


def test_codebook__commitment_is_a_mean_over_channels_too() -> None:
    # Trap 31: summed over channels it would be eight times as much.
    book, given = codebook(commitment=0.5), features()
    found = book(given)
    squares = ((found.features - book.codes[found.numbers]) ** 2).sum(dim=-1)
    assert float(found.commitment) == pytest.approx(0.5 * float(squares.mean()) / 8)


@pytest.mark.parametrize("is_training", [True, False])
def test_codebook__to_quantize_changes_nothing(is_training: bool) -> None:
    book = codebook().train(is_training)
    before = {name: tensor.clone() for name, tensor in book.state_dict().items()}
    book(features())
    assert all(torch.equal(tensor, before[name]) for name, tensor in book.state_dict().items())


def test_learn__keeps_unit_length_and_leaves_codes_that_nothing_chose() -> None:
    book = codebook()
    chosen: set[int] = set()
    start = book.codes.clone()
    for seed in range(30):
        found = book(features(seed=seed) + 3.0)
        chosen |= set(found.numbers.flatten().tolist())
        book.learn([found], seed=0)
        assert torch.allclose(book.codes.norm(dim=1), torch.ones(16, dtype=torch.float64), atol=1e-12)
    never = [number for number in range(16) if number not in chosen]
    assert never and torch.allclose(book.codes[never], start[never], atol=1e-14)
    assert not torch.allclose(book.codes[sorted(chosen)], start[sorted(chosen)], atol=1e-3)


def test_learn__counts_use_and_idleness() -> None:
    book = codebook()
    found = book(features())
    sizes = np.bincount(found.numbers.flatten().numpy(), minlength=16)
    book.learn([found], seed=0)
    book.learn([found], seed=0)
    np.testing.assert_allclose(book.usage.numpy(), sizes * (0.01 + 0.99 * 0.01))
    np.testing.assert_array_equal(book.idle.numpy(), np.where(sizes > 0, 0, 2))
    assert int(book.steps) == 2


def test_learn__in_float32_norms_stay_within_a_hundred_thousandth() -> None:
    book = codebook(num_codes=300, code_width=32).float()
    for seed in range(50):
        book.learn([book(torch.randn(4, 100, 32, generator=torch.Generator().manual_seed(seed)))], seed=0)
    assert float((book.codes.norm(dim=1) - 1).abs().max()) < 1e-5


def test_start__gathers_around_the_features_once() -> None:
    book = codebook(start="kmeans", num_codes=3)
    generator = torch.Generator().manual_seed(3)
    axes = torch.eye(8, dtype=torch.float64)[:3]
    clusters = axes.repeat(20, 1) + 0.05 * torch.randn(60, 8, generator=generator, dtype=torch.float64)
    assert not bool(book.is_started) and float(book.codes.abs().sum()) == 0.0
    # From some starts k-means finds two of three clusters; from this one all.
    book.start(clusters[None], seed=1)
    assert bool(book.is_started)
    assert sorted((book.codes @ axes.t()).max(dim=0).values.tolist()) == pytest.approx([1, 1, 1], abs=0.01)
    started = book.codes.clone()
    book.start(-clusters[None], seed=1)
    assert torch.equal(book.codes, started)


def test_start__of_fewer_features_than_codes_gives_unit_codes() -> None:
    book = codebook(start="kmeans", num_codes=50)
    book.start(features(), seed=0)
    assert torch.allclose(book.codes.norm(dim=1), torch.ones(50, dtype=torch.float64))


def test_learn__revives_what_has_been_idle_for_long_and_nothing_else() -> None:
    book, plain = codebook(revive_after=3), codebook()
    given = features(10) + 3.0
    found = book(given)
    idle = sorted(set(range(16)) - set(found.numbers.flatten().tolist()))
    for _ in range(2):
        for one in (book, plain):
            one.learn([one(given)], seed=7)
    assert torch.equal(book.codes, plain.codes)
    for one in (book, plain):
        one.learn([one(given)], seed=7)
    rows = unit(given.reshape(-1, 8).numpy())
    for number in idle:
        assert np.abs(rows - book.codes[number].numpy()).max(axis=1).min() < 1e-12
    others = sorted(set(range(16)) - set(idle))
    assert torch.equal(book.codes[others], plain.codes[others])
    assert int(book.idle.max()) == 0


def test_learn__revival_is_repeatable() -> None:
    first, second = codebook(revive_after=1), codebook(revive_after=1)
    for book in (first, second):
        for seed in range(3):
            book.learn([book(features(seed=seed))], seed=11)
    assert torch.equal(first.codes, second.codes)
