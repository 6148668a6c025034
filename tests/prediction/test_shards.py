"""Shares of a run, against lists cut by slices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_beit.errors import BeitError, SettingsError
from modelscope_beit.prediction.shards import Shard, interleaved, own_device, own_shard


@given(total=st.integers(0, 60), batch_size=st.integers(1, 9), count=st.integers(1, 5))
def test_shard_of__is_every_countth_batch_and_interleaved_puts_them_together(
    total: int, batch_size: int, count: int
) -> None:
    items = list(range(total))
    batches = [items[start : start + batch_size] for start in range(0, total, batch_size)]
    shares = [list(shard.of(iter(items), batch_size)) for shard in Shard(0, count).all()]
    assert shares == [sum(batches[rank::count], []) for rank in range(count)]
    assert list(interleaved([iter(share) for share in shares], batch_size)) == items


@pytest.mark.parametrize("shares", [[[0, 1, 4], [2, 3, 6, 7]], [[0, 1], [], [4]], [[], [2]]])
def test_interleaved__refuses_shares_of_different_pictures(shares: list[list[int]]) -> None:
    with pytest.raises(BeitError, match="have changed during the run"):
        list(interleaved([iter(share) for share in shares], 2))


def test_own_shard__is_what_torchrun_says() -> None:
    assert own_shard({}) == Shard(0, 1)
    assert own_shard({"RANK": "2", "WORLD_SIZE": "4"}) == Shard(2, 4)


@pytest.mark.parametrize(
    "environment",
    [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "first", "WORLD_SIZE": "2"}, {"RANK": "1"}, {"WORLD_SIZE": "-1"}],
)
def test_own_shard__tells_what_is_wrong(environment: dict[str, str]) -> None:
    told = f"RANK={environment.get('RANK', 0)} and WORLD_SIZE={environment.get('WORLD_SIZE', 1)}"
    with pytest.raises(SettingsError, match=told):
        own_shard(environment)


@pytest.mark.parametrize(
    ("wanted", "expected"), [("cuda", "cuda:3"), ("gpu", "gpu:3"), ("cuda:1", "cuda:1"), ("cpu", "cpu"), ("mps", "mps")]
)
def test_own_device__is_a_gpu_of_its_own(wanted: str, expected: str) -> None:
    assert own_device(wanted, {"LOCAL_RANK": "3"}) == expected
    assert own_device(wanted, {}) == wanted
