from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelscope_beit.data.annotation_file import read_annotation_file
from modelscope_beit.data.image_folder import read_image_folder
from modelscope_beit.data.pictures import FilePictures, RowPictures
from modelscope_beit.data.records import Records
from modelscope_beit.data.splitting import split_records, write_split
from modelscope_beit.errors import SettingsError


def made_of(labels: list[int] | np.ndarray, num_classes: int = 4) -> Records:
    paths = [f"{row}.jpg" for row in range(len(labels))]
    names = [f"class {number}" for number in range(num_classes)]
    return Records(FilePictures(paths), np.asarray(labels), names, description="pets")


def test_split_records__takes_a_fifth_of_each_class() -> None:
    records = made_of(np.repeat(np.arange(4), [100, 50, 10, 5]))
    train, validation = split_records(records, seed=3)
    assert validation.class_counts().tolist() == [20, 10, 2, 1]
    assert train.class_counts().tolist() == [80, 40, 8, 4]
    names = [record.name for record in train] + [record.name for record in validation]
    assert sorted(names) == sorted(record.name for record in records)


def test_split_records__has_small_classes_in_both_parts() -> None:
    train, validation = split_records(made_of([0, 1, 1, 2, 2, 2, 3, 3]), seed=0)
    assert train.class_counts().tolist() == [1, 1, 2, 1]
    assert validation.class_counts().tolist() == [0, 1, 1, 1]


def test_split_records__depends_on_the_seed_only() -> None:
    records = made_of(np.repeat([0, 1], 50))
    chosen = [[record.name for record in split_records(records, seed=seed)[1]] for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_split_records__divides_multi_label_data_too() -> None:
    records = made_of(np.eye(4, dtype=bool)[np.arange(40) % 4])
    train, validation = split_records(records, seed=0)
    assert (len(train), len(validation)) == (32, 8)


def test_split_records__refuses_what_leaves_nothing_to_validate() -> None:
    with pytest.raises(SettingsError, match="no two of one class"):
        split_records(made_of([0, 1, 2]), seed=0)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_write_split__is_read_back_as_data(tmp_path: Path, jpegs: Any, is_multi_label: bool) -> None:
    jpegs(tmp_path, [f"{name}/{number}.jpg" for name in ("salt;pepper", "狗") for number in range(5)])
    records = read_image_folder(tmp_path)
    if is_multi_label:
        marks = np.eye(2, dtype=bool)[records.labels()]
        records = Records(FilePictures(records.files() or []), marks, records.class_names, description="")
    parts = dict(zip(("train", "validation"), split_records(records, seed=5), strict=True))
    assert write_split(parts["train"], parts["validation"], tmp_path / "split.jsonl")
    read = read_annotation_file(tmp_path / "split.jsonl")
    for name, part in parts.items():
        assert [tuple(vars(record).items()) for record in read[name]] == [tuple(vars(r).items()) for r in part]
        assert read[name].class_names == part.class_names


def test_write_split__cannot_tell_pictures_without_a_path(tmp_path: Path) -> None:
    records = Records(RowPictures(lambda row: b"", one_at_a_time=False), np.array([0, 0]), ["a"], description="")
    assert not write_split(records, records, tmp_path / "split.jsonl")
    assert not (tmp_path / "split.jsonl").exists()
