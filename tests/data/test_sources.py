import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest

from modelscope_beit.data.records import Records
from modelscope_beit.data.sources import open_data
from modelscope_beit.errors import SettingsError


def content(records: Records | None) -> dict[str, str]:
    """File name -> class name."""
    assert records is not None
    return {os.path.basename(record.name): records.class_names[record.label] for record in records}  # type: ignore[index]


EXPECTED = ({"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "fox"}, {"d.jpg": "fox", "e.jpg": "cat"})


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "VALIDATION"), ("training", "test"), ("train", "valid")])
def test_open_data__reads_parts_of_class_folders(tmp_path: Path, jpegs: Any, names: tuple[str, str]) -> None:
    jpegs(tmp_path / names[0], ["cat/a.jpg", "dog/b.jpg", "fox/c.jpg"])
    jpegs(tmp_path / names[1], ["fox/d.jpg", "cat/e.jpg"])
    (tmp_path / "meta").mkdir()
    data = open_data(tmp_path, seed=0)
    assert (content(data.train), content(data.validation)) == EXPECTED
    # The second folder has no dog: by position, fox would be dog.
    assert data.validation is not None and data.validation.class_names == ("cat", "dog", "fox")
    assert data.notes == ()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_open_data__reads_parts_of_annotations(tmp_path: Path, suffix: str) -> None:
    lines = {"csv": "{},{}", "jsonl": '{{"path": "{}", "label": "{}"}}'}
    for name, rows in zip(("train", "val"), EXPECTED, strict=True):
        head = "path,label\n" if suffix == "csv" else ""
        text = head + "\n".join(lines[suffix].format(*row) for row in rows.items())
        (tmp_path / f"{name}.{suffix}").write_text(text)
    data = open_data(str(tmp_path), seed=0)
    assert (content(data.train), content(data.validation)) == EXPECTED


def test_open_data__reads_one_file_with_all_parts(tmp_path: Path) -> None:
    rows = [
        f"{path},{label},{name}"
        for name, part in zip(("train", "test"), EXPECTED, strict=True)
        for path, label in part.items()
    ]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,split", *rows, "x.jpg,cat,holdout"]))
    data = open_data(tmp_path / "all.csv", seed=0)
    assert (content(data.train), content(data.validation)) == EXPECTED
    assert "holdout" in data.notes[0]


def test_open_data__divides_what_has_no_validation_part(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path / "pets", [f"{name}/{name}{row}.jpg" for name in ("cat", "dog") for row in range(10)])
    data = open_data(tmp_path / "pets", seed=4)
    assert len(content(data.train)) == 16 and sorted(content(data.validation).values()) == ["cat"] * 2 + ["dog"] * 2
    assert "4 of its 20 pictures" in data.notes[0] and "seed 4" in data.notes[0]
    assert content(open_data(tmp_path / "pets", seed=4).validation) == content(data.validation)
    whole = open_data(tmp_path / "pets", seed=4, divide=False)
    assert len(content(whole.train)) == 20 and whole.validation is None and not whole.notes
    # A lone training part is divided too.
    shutil.move(tmp_path / "pets", tmp_path / "train")
    assert len(content(open_data(tmp_path, seed=4).validation)) == 4


def test_open_data__of_validation_alone_has_no_training_part(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path / "val", ["cat/a.jpg", "dog/b.jpg"])
    data = open_data(tmp_path, seed=0)
    assert data.train is None and len(content(data.validation)) == 2


def test_open_data__knows_classes_called_train_and_test(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, [f"{name}/{name}{row}.jpg" for name in ("train", "test", "bus") for row in range(5)])
    data = open_data(tmp_path, seed=0)
    assert data.train is not None and data.train.class_names == ("bus", "test", "train")


def test_open_data__prefers_validation_to_test_and_says_so(tmp_path: Path, jpegs: Any) -> None:
    for part in ("train", "val", "test"):
        jpegs(tmp_path / part, [f"cat/{part}0.jpg", f"dog/{part}1.jpg"])
    data = open_data(tmp_path, seed=0)
    assert set(content(data.validation)) == {"val0.jpg", "val1.jpg"}
    assert "the parts test" in data.notes[0]


def test_open_data__refuses_a_class_that_training_lacks(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path / "train", ["cat/a.jpg", "dog/b.jpg"])
    jpegs(tmp_path / "val", ["cat/c.jpg", "cow/d.jpg"])
    with pytest.raises(SettingsError, match="'cow'"):
        open_data(tmp_path, seed=0)
    # None in common: not matched by position either.
    shutil.rmtree(tmp_path / "val" / "cat")
    with pytest.raises(SettingsError, match="'cow'"):
        open_data(tmp_path, seed=0)


@pytest.mark.parametrize("kind", ["file", "folder", "parts"])
def test_open_data__reads_parquet(tmp_path: Path, jpegs: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    paths = jpegs(tmp_path / "pictures", [f"{row}.jpg" for row in range(10)])
    values = [{"bytes": Path(path).read_bytes(), "path": f"{row}.jpg"} for row, path in enumerate(paths)]
    table = datasets.Dataset.from_dict({"image": values, "label": [row % 2 for row in range(10)]}, features=features)
    (tmp_path / "pets").mkdir()
    location = tmp_path / "pets" / "all.parquet" if kind == "file" else tmp_path / "pets"
    if kind == "parts":
        table.select(range(8)).to_parquet(tmp_path / "pets" / "train-00000.parquet")
        table.select([9, 8]).to_parquet(tmp_path / "pets" / "validation-00000.parquet")
    else:
        table.to_parquet(tmp_path / "pets" / "all.parquet")
    data = open_data(location, seed=0)
    assert data.train is not None and data.train.class_names == ("cat", "dog")
    assert len(content(data.train)) == 8
    found = content(data.train) | content(data.validation)
    assert found == {f"{row}.jpg": ("cat", "dog")[row % 2] for row in range(10)}
    assert isinstance(data.train[0].image, bytes)
    if kind == "parts":
        assert list(content(data.validation)) == ["9.jpg", "8.jpg"]
    assert str(location) in data.train.description


def test_open_data__asks_the_hub_for_what_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, **options: Any) -> datasets.DatasetDict:
        asked.append(name)
        rows = {part: {"img": [f"{part}.jpg"] * 2, "fine_label": [0, 1]} for part in ("train", "test")}
        return datasets.DatasetDict({part: datasets.Dataset.from_dict(table) for part, table in rows.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = open_data("somebody/pets-37", seed=0, class_names=["cat", "dog"])
    assert asked == ["somebody/pets-37"]
    assert data.train is not None and data.train[1].name == "train.jpg" and data.train.class_names == ("cat", "dog")
    assert data.validation is not None and data.validation[0].name == "test.jpg"
    for path in ("/nowhere/pets", "./pets", "pets.csv", "a/b/c"):
        with pytest.raises(SettingsError, match="does not exist"):
            open_data(path, seed=0)
    assert len(asked) == 1


def test_open_data__says_what_it_tried_without_a_network() -> None:
    with pytest.raises(SettingsError) as caught:
        open_data("somebody/pets-37", seed=0)
    text = str(caught.value)
    assert str(Path.cwd()) in text and "Hugging Face" in text and "MsDataset.load" in text


@pytest.mark.parametrize(
    ("files", "location", "message"),
    [
        (["a.zip"], "a.zip", r"\.csv, \.tsv"),
        (["a.jpg"], "", "folders named after the classes"),
        (["all.csv:path,label,split\na.jpg,x,one\nb.jpg,y,two"], "all.csv", "it has one, two"),
        (["broken.parquet:no parquet"], "broken.parquet", "cannot be read"),
        (["train.csv:path,label,split\na.jpg,x,val"], "", "it has val as split"),
    ],
)
def test_open_data__says_what_is_wrong(tmp_path: Path, files: list[str], location: str, message: str) -> None:
    for file in files:
        name, _, text = file.partition(":")
        (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=message):
        open_data(tmp_path / location, seed=0)
