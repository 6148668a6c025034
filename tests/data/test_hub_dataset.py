from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.records import Records
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.errors import SettingsError
from modelscope_beit.images.reading import read_image


def ms_dataset(dataset: Any) -> Any:
    modelscope = pytest.importorskip("modelscope.msdatasets", reason="its MsDataset is read")
    return modelscope.MsDataset(dataset)


def hub_table(folder: Path, jpegs: Any) -> dict[str, list[Any]]:
    """A table as ModelScope's hub has them, unpacked as ModelScope unpacks them."""
    names = [f"{name}/{number}.jpg" for number in range(3) for name in ("dog", "cat")]
    paths = jpegs(folder / "extracted" / "5d41402a" / "train", names)
    return {"image:FILE": paths, "category": [0, 1] * 3}


def test_records_of__reads_the_hubs_tables(tmp_path: Path, jpegs: Any) -> None:
    table = hub_table(tmp_path, jpegs)
    (tmp_path / "extracted" / "5d41402a" / "train" / "classname.txt").write_text("Hund\nKatze\n")
    records = records_of(ms_dataset(datasets.Dataset.from_dict(table)), class_names=["of", "the configuration"])
    assert isinstance(records, Records)
    assert records.class_names == ("Hund", "Katze")
    assert [record.image for record in records] == table["image:FILE"] == records.files()
    assert records.labels().tolist() == [0, 1] * 3
    assert read_image(records[0].image).size == (40, 32)


def test_records_of__joins_the_prefix(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["a.jpg", "b.jpg"])
    table = datasets.Dataset.from_dict({"image:FILE": ["a.jpg", "b.jpg"], "category": [1, 0]})
    records = records_of(ms_dataset(table), class_names=["x", "y"], data_prefix=str(tmp_path))
    assert [record.name for record in records] == records.files() == [str(tmp_path / n) for n in ("a.jpg", "b.jpg")]


@pytest.mark.parametrize("kind", ["path", "bytes", "picture"])
def test_records_of__reads_pictures_of_every_kind(tmp_path: Path, jpegs: Any, kind: str) -> None:
    paths = jpegs(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    values: dict[str, list[Any]] = {
        "path": paths,
        "bytes": [{"bytes": Path(path).read_bytes(), "path": None} for path in paths],
        "picture": [Image.open(path).convert("RGB") for path in paths],
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    table = datasets.Dataset.from_dict({"image": values[kind], "label": [1, 0, 1]}, features=features)
    records = records_of(table.select([2, 0]), class_names=["not", "these"])
    assert records.class_names == ("x", "y")
    assert [record.label for record in records] == [1, 1]
    # Nothing has decoded them.
    assert all(isinstance(record.image, str | bytes) for record in records)
    for record, path in zip(records, (paths[2], paths[0]), strict=True):
        with Image.open(path) as expected:
            np.testing.assert_array_equal(np.asarray(read_image(record.image)), np.asarray(expected))
    assert records.files() == ([paths[2], paths[0]] if kind == "path" else None)


def test_records_of__decodes_nothing_for_the_labels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    broken = [{"bytes": b"no picture", "path": None}] * 3
    table = datasets.Dataset.from_dict({"image": broken, "label": ["b", "a", "b"]}, features=features)
    assert records_of(table).labels().tolist() == [1, 0, 1]


def test_records_of__reads_several_classes() -> None:
    features = datasets.Features(
        {"image": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["x", "y", "z"]))}
    )
    table = datasets.Dataset.from_dict({"image": ["a", "b"], "labels": [["z", "x"], []]}, features=features)
    records = records_of(table)
    assert records.class_names == ("x", "y", "z") and [record.label for record in records] == [(0, 2), ()]


def test_records_of__looks_through_formats(tmp_path: Path, jpegs: Any) -> None:
    paths = jpegs(tmp_path, ["1.jpg", "2.jpg"])
    table = datasets.Dataset.from_dict({"image": paths, "label": [1, 0]}).cast_column("image", datasets.Image())
    for kind in ("numpy", "torch"):
        records = records_of(table.with_format(kind))
        assert [record.image for record in records] == paths and records.labels().tolist() == [1, 0]
    # A transform of the user's makes the rows.
    table = table.with_transform(lambda rows: {"image": paths[::-1], "label": ["x", "y"]})
    assert [records_of(table)[0].image, records_of(table).class_names] == [paths[1], ("x",)]


def test_records_of__may_be_read_by_many_threads(tmp_path: Path, jpegs: Any) -> None:
    paths = jpegs(tmp_path, [f"{number}.jpg" for number in range(50)])
    records = records_of(datasets.Dataset.from_dict({"image": paths, "label": list(range(50))}))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda row: records[row], list(range(50)) * 10))
    assert [record.name for record in read] == paths * 10


def test_records_of__tells_labels_that_are_missing() -> None:
    table = datasets.Dataset.from_dict({"image": ["a", "b", "c"], "label": [1, None, 0]})
    with pytest.raises(SettingsError, match="row 1 has None"):
        records_of(table)


def test_records_of__recognises_streams_and_records() -> None:
    stream = datasets.Dataset.from_dict({"image": ["a"], "label": [0]}).to_iterable_dataset()
    streamed = records_of(ms_dataset(stream), class_names=["x"])
    assert isinstance(streamed, StreamedRecords)
    assert records_of(streamed) is streamed


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (datasets.DatasetDict(train=datasets.Dataset.from_dict({})), r"DatasetDict of \['train'\].*data\['train'\]"),
        ({"train": [], "test": []}, "one of its parts"),
        ("damo/pets", "MsDataset.load"),
        (7, "a int came"),
        (datasets.Dataset.from_dict({"photo": ["a"], "label": [0]}), "'photo', 'label'"),
        (datasets.Dataset.from_dict({"image": [], "label": []}), "at least one row"),
    ],
)
def test_records_of__says_what_is_wrong(dataset: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        records_of(dataset)


def test_records_of__is_quick_with_many_rows() -> None:
    count = 50_000
    table = datasets.Dataset.from_dict(
        {"image": [f"{row}.jpg" for row in range(count)], "label": np.arange(count) % 1000}
    )
    records = records_of(table.shuffle(seed=0))
    assert len(records) == count and records.class_counts().tolist() == [50] * 1000
