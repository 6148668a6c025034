"""Tables that grow: whole, stopped, cut at any byte and gone on with, alone and by several processes."""

import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from modelscope_beit.errors import BeitError, SettingsError
from modelscope_beit.prediction.growing_table import GrowingTable, is_finished, open_table, partial_path
from modelscope_beit.prediction.shards import Shard
from modelscope_beit.prediction.stream import Prediction

SUFFIXES = ["csv", "jsonl", "parquet"]
PREDICTIONS = [
    Prediction('a, "quoted".jpg', ("red fox, Vulpes vulpes", "中文"), (0.75, 0.25)),
    Prediction("broken.jpg", error='cannot be read:\r\n"the file" is empty,'),
    Prediction("tiny.jpg", ("中文", "red fox, Vulpes vulpes"), (0.9999999, 1.234567e-07)),
    Prediction("line\nend.jpg", ("中文", "red fox, Vulpes vulpes"), (1 / 3, 1 / 7)),
    Prediction("", error='"'),
]
SOURCES = [prediction.source for prediction in PREDICTIONS]
FOUND = dict(zip(SOURCES, PREDICTIONS, strict=True))


def write(path: Path, predictions: list[Prediction], **options: Any) -> None:
    with open_table(path, 2, **options) as table:
        for prediction in predictions:
            table.append(prediction)


def go_on(path: Path, sources: Iterable[str] = SOURCES, **options: Any) -> tuple[GrowingTable, list[str]]:
    """Goes on with all that remains; returns the table and the names of the pictures that remained."""
    shard, batch_size = options.get("shard", Shard()), options.get("batch_size", 1)
    with open_table(path, 2, resume=True, **options) as table:
        remaining = list(table.remaining(shard.of(iter(sources), batch_size)))
        for source in remaining:
            table.append(FOUND[source])
    return table, remaining


def stop(path: Path, predictions: list[Prediction], **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt), open_table(path, 2, **options) as table:
        for prediction in predictions:
            table.append(prediction)
        raise KeyboardInterrupt


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_open_table__without_rows_gives_a_table_without_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"none.{suffix}"
    write(path, [])
    if suffix == "parquet":
        assert pyarrow.parquet.read_table(path).num_rows == 0
    else:
        assert len(path.read_text().splitlines()) == (1 if suffix == "csv" else 0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_open_table__keeps_the_rows_of_an_interrupted_run_beside_the_old_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"preds.{suffix}"
    path.write_bytes(b"the old one")
    stop(path, PREDICTIONS[:3])
    assert path.read_bytes() == b"the old one"
    partial = tmp_path / ("preds.partial.parquet.jsonl" if suffix == "parquet" else f"preds.partial.{suffix}")
    assert partial_path(path) == partial
    text = partial.read_text(encoding="utf-8")
    assert text.endswith("\n") and "broken.jpg" in text and "tiny.jpg" in text
    assert not is_finished(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_open_table__replaces_the_old_table_and_leaves_nothing_beside_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"preds.{suffix}"
    path.write_bytes(b"the old one")
    write(path, PREDICTIONS)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() != b"the old one"
    assert is_finished(path)


def test_open_table__names_the_file_when_the_disk_is_full(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("only Linux has /dev/full")
    partial_path(tmp_path / "preds.csv").symlink_to(full)
    with pytest.raises(BeitError, match=r"Writing the table .*preds\.partial\.csv failed: .*[Nn]o space"):
        write(tmp_path / "preds.csv", PREDICTIONS * 1000)
    assert not (tmp_path / "preds.csv").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_remaining__after_a_cut_at_any_byte_ends_with_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"preds.{suffix}"
    write(whole, PREDICTIONS)
    stop(path, PREDICTIONS)
    partial = partial_path(path)
    content, record = partial.read_bytes(), (tmp_path / f"{partial.name}.run.json").read_bytes()
    seen = set()
    for length in range(len(content) + 1):
        partial.write_bytes(content[:length])
        (tmp_path / f"{partial.name}.run.json").write_bytes(record)
        table, remaining = go_on(path, batch_size=2)
        assert path.read_bytes() == whole.read_bytes(), length
        assert (table.kept, table.count.total, table.count.failed) == (5 - len(remaining), 5, 2)
        seen.add(len(remaining))
    # Batches of two: an odd row is done again, with its neighbour or alone.
    assert seen == {5, 3, 1}
    assert len(list(tmp_path.iterdir())) == 2


def test_remaining__without_an_earlier_run_is_everything(tmp_path: Path) -> None:
    _, remaining = go_on(tmp_path / "preds.csv")
    assert remaining == SOURCES


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["other.jpg", *SOURCES[1:]], r"its row 1 is '.*quoted.*', but here the picture is other\.jpg"),
        ([SOURCES[0], "broken.jpg2", *SOURCES[2:]], r"its row 2 is '.*broken\.jpg.*the picture is broken\.jpg2"),
        (SOURCES[:2], "its row 3 is .*there are no more pictures"),
    ],
)
def test_remaining__refuses_other_pictures_and_keeps_the_rows(
    tmp_path: Path, suffix: str, sources: list[str], expected: str
) -> None:
    path = tmp_path / f"preds.{suffix}"
    stop(path, PREDICTIONS[:3])
    before = partial_path(path).read_bytes()
    with pytest.raises(SettingsError, match=expected):
        go_on(path, sources)
    assert partial_path(path).read_bytes() == before
    assert go_on(path)[1] == SOURCES[3:]


def test_open_table__refuses_to_go_on_with_other_settings_and_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "preds.csv"
    stop(path, PREDICTIONS[:3], settings={"MODEL": "sha256:1"})
    before = partial_path(path).read_bytes()
    with pytest.raises(SettingsError, match="MODEL was sha256:1 and is sha256:2"):
        go_on(path, settings={"MODEL": "sha256:2"})
    assert partial_path(path).read_bytes() == before


def test_open_table__refuses_rows_that_nobody_knows_the_model_of(tmp_path: Path) -> None:
    partial_path(tmp_path / "preds.csv").write_text("source,label_1,score_1,label_2,score_2,error\r\n")
    with pytest.raises(SettingsError, match="what it was begun with, is not there"):
        go_on(tmp_path / "preds.csv")


def test_remaining__refuses_other_columns(tmp_path: Path) -> None:
    stop(tmp_path / "preds.csv", PREDICTIONS)
    with (
        pytest.raises(SettingsError, match="not with the columns"),
        open_table(tmp_path / "preds.csv", 3, resume=True) as table,
    ):
        table.remaining(iter(SOURCES))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_open_table__of_several_processes_is_joined_by_the_last(
    tmp_path: Path, suffix: str, order: tuple[int, ...]
) -> None:
    path = tmp_path / f"preds.{suffix}"
    path.write_bytes(b"the old one")
    write(tmp_path / f"whole.{suffix}", PREDICTIONS)
    for rank in order:
        assert path.read_bytes() == b"the old one"
        table, _ = go_on(path, shard=Shard(rank, 3), batch_size=1)
        assert (table.whole is None) == (rank != order[-1])
    assert table.whole is not None and (table.whole.total, table.whole.failed) == (5, 2)
    assert path.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_open_table__of_several_processes_goes_on_after_one_died(tmp_path: Path) -> None:
    path, first, second = tmp_path / "preds.csv", Shard(0, 2), Shard(1, 2)
    write(tmp_path / "whole.csv", PREDICTIONS)
    write(path, [PREDICTIONS[0], PREDICTIONS[2], PREDICTIONS[4]], shard=first)
    stop(path, PREDICTIONS[1:2], shard=second)
    assert not path.exists()
    # Everybody is started again; a share that is whole stays so, unless there are new pictures.
    assert go_on(path, shard=first)[1] == []
    assert go_on(path, shard=second)[1] == [SOURCES[3]]
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert is_finished(path)


def test_open_table__begun_anew_forgets_the_share_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "preds.jsonl"
    write(path, PREDICTIONS[:1], shard=Shard(0, 2))
    with open_table(path, 2, shard=Shard(0, 2)) as table:
        write(path, PREDICTIONS[1:2], shard=Shard(1, 2))
        assert not path.exists()
        table.append(PREDICTIONS[2])
    rows = [json.loads(line)["source"] for line in path.open(encoding="utf-8")]
    assert rows == ["tiny.jpg", "broken.jpg"]


def test_open_table__refuses_to_go_on_by_another_number_of_processes(tmp_path: Path) -> None:
    path = tmp_path / "preds.csv"
    stop(path, PREDICTIONS[1:2], shard=Shard(1, 2))
    for shard in (Shard(), Shard(1, 3)):
        with pytest.raises(SettingsError, match=rf"rank-1-of-2.* another number of processes than {shard.count}"):
            go_on(path, shard=shard)


def test_growing_table__holds_nothing_per_row(tmp_path: Path) -> None:
    path, prediction = tmp_path / "preds.jsonl", Prediction("a_name_of_some_length.jpg", ("a", "b"), (0.5, 0.5))
    tracemalloc.start()
    stop(path, [prediction] * 5000)
    with open_table(path, 2, batch_size=7, resume=True) as table:
        assert len(list(table.remaining(iter([prediction.source] * 5000)))) == 5000 % 7
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 450_000  # Four of its rows less: those of the batch that is not whole.
    assert peak < 200_000
