"""Pictures without labels: of folders, tables, shards and loaded data sets, divided among processes."""

import io
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from modelscope_beit.data.records import Records
from modelscope_beit.data.unlabelled import NO_LABEL, PictureStream, open_pictures, pictures_of
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.reading import read_image

COUNT = 6


def png(number: int) -> bytes:
    """A picture of one grey level, which tells its number."""
    content = io.BytesIO()
    Image.new("RGB", (9, 7), (10 * number,) * 3).save(content, "PNG")
    return content.getvalue()


def numbers(found: Any) -> list[int]:
    """The numbers of the pictures, told by their pixels."""
    rows = found if isinstance(found, list) else [found[row] for row in range(len(found))]
    return [int(np.asarray(read_image(row.image))[0, 0, 0]) // 10 for row in rows]


def once(stream: Records | PictureStream) -> list[int]:
    assert isinstance(stream, PictureStream)
    return numbers(list(stream.records()))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Two files with a column of pictures, as the Hugging Face hub has them, and no label."""
    for part in range(2):
        rows = [{"bytes": png(number), "path": f"{number}.png"} for number in range(3 * part, 3 * part + 3)]
        table = pyarrow.table({"image": rows, "caption": ["a"] * 3})
        (tmp_path / "tables").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(table, tmp_path / "tables" / f"train-{part}.parquet")
    return tmp_path / "tables"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two tar files as webdataset writes them: pictures beside a text."""
    (tmp_path / "shards").mkdir()
    for part in range(2):
        with tarfile.open(tmp_path / "shards" / f"pictures-{part}.tar", "w") as shard:
            for number in range(3 * part, 3 * part + 3):
                for name, content in ((f"{number:03d}.png", png(number)), (f"{number:03d}.txt", b"a caption")):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    shard.addfile(info, io.BytesIO(content))
    return tmp_path / "shards"


def test_open_pictures__takes_a_folder_with_or_without_class_folders(tmp_path: Path) -> None:
    for number, name in enumerate(("b.png", "cats/a.PNG", "cats/deep/c.jpg", ".hidden/d.png", "notes.txt")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(number))
    found = open_pictures(tmp_path)
    assert isinstance(found, Records)
    assert sorted(Path(file).name for file in found.files() or ()) == ["a.PNG", "b.png", "c.jpg"]
    assert set(found.labels().tolist()) == {NO_LABEL}
    assert found.class_names == ()


def test_open_pictures__reads_tables_without_a_label(parquet: Path) -> None:
    found = open_pictures(parquet)
    assert isinstance(found, Records)
    assert numbers(found) == list(range(COUNT))
    (parquet / "validation-0.parquet").write_bytes((parquet / "train-0.parquet").read_bytes())
    assert len(open_pictures(parquet)) == COUNT, "the part for validation is not trained on"  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["tables", "shards", "one shard"])
def test_open_pictures__divides_streams_among_processes(parquet: Path, shards: Path, kind: str) -> None:
    source = {"tables": parquet, "shards": shards, "one shard": shards / "pictures-0.tar"}[kind]
    expected = list(range(3 if kind == "one shard" else COUNT))
    assert once(open_pictures(source, stream=True)) == expected
    parts = [once(open_pictures(source, stream=True, rank=rank, world_size=2)) for rank in range(2)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == expected


def test_open_pictures__streams_shards_whatever_is_asked(shards: Path) -> None:
    assert isinstance(open_pictures(shards), PictureStream)


def test_records__with_a_seed_have_no_end_and_an_order_of_each_pass(shards: Path) -> None:
    stream = open_pictures(shards)
    assert isinstance(stream, PictureStream)
    found = numbers(list(islice(stream.records(seed=3), 5 * COUNT)))
    passes = [found[start : start + COUNT] for start in range(0, 5 * COUNT, COUNT)]
    assert all(sorted(one) == list(range(COUNT)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert numbers(list(islice(stream.records(seed=3), 5 * COUNT))) == found


def test_records__of_an_empty_stream_are_an_error() -> None:
    def nothing(seed: int | None) -> Iterator[dict[str, object]]:
        return iter(())

    with pytest.raises(SettingsError, match="a stream: at least one row is expected"):
        next(PictureStream(nothing, "image", description="a stream").records(seed=0))


def test_records__name_a_row_without_a_picture() -> None:
    stream = PictureStream(lambda seed: iter([{"image": None}]), "image", description="a stream")
    with pytest.raises(ImageError, match="Row 0: a picture is expected"):
        list(stream.records())


def test_pictures_of__takes_what_a_script_has_loaded(tmp_path: Path, parquet: Path) -> None:
    table = datasets.load_dataset("parquet", data_files=str(parquet / "train-0.parquet"), split="train")
    found = pictures_of(table, name="train_dataset")
    assert isinstance(found, Records)
    assert numbers(found) == [0, 1, 2]
    (tmp_path / "5.png").write_bytes(png(5))
    listed = pictures_of([{"image:FILE": str(tmp_path / "5.png"), "category": 3}], name="train_dataset")
    assert isinstance(listed, Records)
    assert numbers(listed) == [5]
    assert once(pictures_of(table.to_iterable_dataset(), name="train_dataset")) == [0, 1, 2]


def test_pictures_of__names_the_columns_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"train_dataset: for the picture .* it has 'text', 'size'"):
        pictures_of([{"text": "a", "size": 3}], name="train_dataset")


@pytest.mark.parametrize("name", ["nowhere/", "file.csv", "empty"])
def test_open_pictures__tells_what_was_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.csv").write_text("a,b\n")
    with pytest.raises(SettingsError, match=r"\.tar files"):
        open_pictures(tmp_path / name)
