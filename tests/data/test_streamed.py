from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from torch.utils.data import IterableDataset

from modelscope_beit.data.streamed import read_stream
from modelscope_beit.errors import ImageError, SettingsError

NAMES = ["cat", "dog"]


def stream_of(count: int, **columns: Any) -> datasets.IterableDataset:
    table = {"image:FILE": [f"{row}.jpg" for row in range(count)], "category": [row % 2 for row in range(count)]}
    return datasets.Dataset.from_dict(table | columns).to_iterable_dataset(num_shards=3)


class FromModelScope(datasets.IterableDataset):
    """Yields rows as ModelScope's NativeIterableDataset does: a batch of rows in lists, files replaced on the way."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.iter(batch_size=4):
            paths = [f"/cache/{path}" for path in batch["image:FILE"]]
            yield {"image:FILE": paths, "image": batch["image:FILE"], "category": batch["category"]}


class Pairs(IterableDataset):
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter([(f"{row}.jpg", NAMES[row % 2]) for row in range(10)])


def test_read_stream__yields_all_rows_in_order() -> None:
    stream = read_stream(stream_of(10), class_names=NAMES, data_prefix="pets")
    records = list(stream.records())
    assert [record.name for record in records] == [f"pets/{row}.jpg" for row in range(10)]
    assert [record.label for record in records] == [0, 1] * 5
    assert stream.class_names == ("cat", "dog") and not stream.is_multi_label


@pytest.mark.parametrize("kind", ["datasets", "modelscope", "torch"])
def test_records__shuffles_by_the_seed(kind: str) -> None:
    source: Any = stream_of(10)
    if kind == "modelscope":
        source = FromModelScope(ex_iterable=source._ex_iterable, info=source.info)
    elif kind == "torch":
        source = Pairs()
    stream = read_stream(source, class_names=NAMES, data_prefix="")
    orders = [[record.name for record in stream.records(seed=seed)] for seed in (1, 1, 2, None)]
    prefix = "/cache/" if kind == "modelscope" else ""
    assert orders[3] == [f"{prefix}{row}.jpg" for row in range(10)]
    assert all(sorted(order) == sorted(orders[3]) for order in orders)
    assert orders[0] == orders[1] != orders[2]
    assert all(record.label == int(Path(record.name).stem) % 2 for record in stream.records(seed=1))


def test_read_stream__leaves_pictures_undecoded(tmp_path: Path, jpegs: Any) -> None:
    paths = jpegs(tmp_path, ["a.jpg", "b.jpg"])
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    table = datasets.Dataset.from_dict({"image": paths, "label": [1, 0]}, features=features)
    stream = read_stream(table.to_iterable_dataset(), class_names=None, data_prefix="")
    assert [record.image for record in stream.records()] == paths
    assert stream.class_names == ("x", "y")


def test_read_stream__reads_several_classes() -> None:
    labels = [["dog", "cat"], [], ["dog"]]
    stream = read_stream(stream_of(3, category=labels), class_names=NAMES, data_prefix="")
    assert stream.is_multi_label
    assert [record.label for record in stream.records()] == [(0, 1), (), (1,)]


def test_read_stream__cannot_find_names_by_looking_ahead() -> None:
    with pytest.raises(SettingsError, match=r"dataset\.classes"):
        read_stream(stream_of(4), class_names=None, data_prefix="")


def test_relabelled__goes_by_name() -> None:
    stream = read_stream(stream_of(4), class_names=NAMES, data_prefix="").relabelled(["dog", "fox", "cat"])
    assert [stream.class_names[record.label] for record in stream.records()] == ["cat", "dog"] * 2  # type: ignore[index]
    lost = read_stream(stream_of(4), class_names=NAMES, data_prefix="").relabelled(["cat"])
    with pytest.raises(SettingsError, match=r"1\.jpg has the label 1"):
        list(lost.records())


@pytest.mark.parametrize("label", [2, -1, "cow", None, [0]])
def test_records__tells_the_row_of_a_wrong_label(label: Any) -> None:
    rows = [("a.jpg", 0 if not isinstance(label, str) else "cat"), ("b.jpg", label)]

    class Rows(IterableDataset):
        def __iter__(self) -> Iterator[tuple[str, Any]]:
            return iter(rows)

    with pytest.raises(SettingsError, match=r"b\.jpg has"):
        list(read_stream(Rows(), class_names=NAMES, data_prefix="").records())


def test_records__tells_the_row_without_a_picture() -> None:
    stream = read_stream(stream_of(3, **{"image:FILE": ["a.jpg", None, "c.jpg"]}), class_names=NAMES, data_prefix="")
    with pytest.raises(ImageError, match="Row 1"):
        list(stream.records())


def test_read_stream__wants_a_row() -> None:
    with pytest.raises(SettingsError, match="at least one row"):
        read_stream(iter_nothing(), class_names=NAMES, data_prefix="")


def iter_nothing() -> IterableDataset:
    class Nothing(IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            return iter([])

    return Nothing()
