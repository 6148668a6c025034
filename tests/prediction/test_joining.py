"""Joining shares: what waits, what is counted, what a failure leaves."""

from pathlib import Path

import pytest

from modelscope_beit.errors import BeitError
from modelscope_beit.prediction.joining import RowCount, join_shares
from modelscope_beit.prediction.stream import Prediction
from modelscope_beit.prediction.tables import row_format

GOOD, BAD = (Prediction("a.jpg", ("cat",), (1.0,)), Prediction("b.jpg", error="is empty"))


def share(path: Path, predictions: list[Prediction], settings: str = "{}") -> Path:
    layout = row_format(path, 1)
    path.write_bytes(layout.head + b"".join(map(layout.row, predictions)))
    record(path).write_text(settings)
    return path


def record(path: Path) -> Path:
    return path.with_name(f"{path.name}.run.json")


def join(path: Path, shares: list[Path]) -> RowCount | None:
    beside = path.with_name(f"{path.name}.joining")
    return join_shares(path, shares, beside=beside, topk=1, batch_size=2, records=list(map(record, shares)))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_join_shares__writes_and_counts_all_rows_and_removes_the_shares(tmp_path: Path, suffix: str) -> None:
    shares = [share(tmp_path / f"0.{suffix}", [GOOD, BAD, BAD]), share(tmp_path / f"1.{suffix}", [BAD, GOOD])]
    assert join(tmp_path / f"all.{suffix}", shares) == RowCount(5, 3)
    layout = row_format(shares[0], 1)
    expected = layout.head + b"".join(map(layout.row, [GOOD, BAD, BAD, GOOD, BAD]))
    assert (tmp_path / f"all.{suffix}").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == [f"all.{suffix}"]


def test_join_shares__waits_for_a_share_that_is_not_there_or_of_another_run(tmp_path: Path) -> None:
    first, missing = share(tmp_path / "0.csv", [GOOD]), tmp_path / "1.csv"
    record(missing).write_text("{}")
    assert join(tmp_path / "all.csv", [first, missing]) is None
    other = share(tmp_path / "1.csv", [], '{"--topk": 5}')
    assert join(tmp_path / "all.csv", [first, other]) is None
    assert first.exists() and other.exists() and not (tmp_path / "all.csv").exists()


def test_join_shares__of_different_pictures_leaves_everything_as_it_was(tmp_path: Path) -> None:
    shares = [share(tmp_path / "0.csv", [GOOD]), share(tmp_path / "1.csv", [GOOD, GOOD])]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BeitError, match="have changed"):
        join(tmp_path / "all.csv", shares)
    assert sorted(tmp_path.iterdir()) == before
