import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelscope_beit.data import content_overlap
from modelscope_beit.data.content_overlap import MISSING, UNKNOWN, file_sizes, find_overlap
from modelscope_beit.data.pictures import FilePictures, RowPictures
from modelscope_beit.data.records import Records


def of_files(paths: list[str]) -> Records:
    return Records(FilePictures(paths), np.zeros(len(paths), np.int64), ["a"], description="")


def of_values(values: list[Any]) -> Records:
    pictures = RowPictures(lambda row: values[row], one_at_a_time=False)
    return Records(pictures, np.zeros(len(values), np.int64), ["a"], description="")


def overlap_of_files(train: list[str], validation: list[str]) -> Any:
    return find_overlap(of_files(train), of_files(validation), (file_sizes(train), file_sizes(validation)))


def test_file_sizes__tells_what_is_no_file(tmp_path: Path, jpegs: Any) -> None:
    (path,) = jpegs(tmp_path, ["a.jpg"])
    (tmp_path / "empty.jpg").touch()
    paths = [path, str(tmp_path / "gone.jpg"), str(tmp_path), str(tmp_path / "empty.jpg"), "a\0b", "https://x/y.jpg"]
    assert file_sizes(paths).tolist() == [os.path.getsize(path), MISSING, MISSING, 0, MISSING, UNKNOWN]


def test_file_sizes__tells_how_far_it_has_come(tmp_path: Path) -> None:
    calls: list[int] = []
    file_sizes([str(tmp_path / str(row)) for row in range(1234)], calls.append)
    assert sum(calls) == 1234 and len(calls) > 1


def test_find_overlap__finds_copies_by_their_content(tmp_path: Path, jpegs: Any) -> None:
    train = jpegs(tmp_path / "train", [f"{row}.jpg" for row in range(30)])
    validation = jpegs(tmp_path / "val", [f"{row}.jpg" for row in range(10)])
    shutil.copy(train[17], validation[4])
    shutil.copy(train[3], validation[8])
    overlap = overlap_of_files(train, validation)
    assert overlap.pairs == ((17, 4), (3, 8)) and overlap.compared == 10
    assert not overlap_of_files(train, [path for row, path in enumerate(validation) if row not in (4, 8)]).pairs


def test_find_overlap__reads_beyond_equal_sizes_and_equal_ends(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b", "c")]
    for path, content in zip(paths, (b"1" + b"0" * 9000, b"2" + b"0" * 9000, b"0" * 8000 + b"3" * 1001), strict=True):
        Path(path).write_bytes(content)
    assert not overlap_of_files(paths[:1], paths[1:]).pairs
    assert overlap_of_files(paths[:1], paths[::-1]).pairs == ((0, 2),)


def test_find_overlap__opens_only_files_of_equal_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    for size in (10, 20, 30, 30):
        paths.append(str(tmp_path / str(len(paths))))
        Path(paths[-1]).write_bytes(bytes([len(paths)]) * size)
    opened = []
    real = content_overlap._tail_key
    monkeypatch.setattr(content_overlap, "_tail_key", lambda path: opened.append(path) or real(path))
    overlap_of_files(paths[:3], paths[3:])
    assert sorted(opened) == paths[2:]


def test_find_overlap__passes_over_what_cannot_be_read(tmp_path: Path) -> None:
    missing = [str(tmp_path / "gone 1"), str(tmp_path / "gone 2")]
    assert not overlap_of_files(missing[:1], missing[1:]).pairs
    empty = [str(tmp_path / "empty 1"), str(tmp_path / "empty 2")]
    for path in empty:
        Path(path).touch()
    assert not overlap_of_files(empty[:1], empty[1:]).pairs


def test_find_overlap__compares_an_even_share_of_many(
    tmp_path: Path, jpegs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_overlap, "_MAX_COMPARED", 4)
    paths = jpegs(tmp_path, [f"{row}.jpg" for row in range(10)])
    overlap = overlap_of_files(paths, paths)
    assert overlap.compared == 4
    assert [row for _, row in overlap.pairs] == [0, 3, 6, 9]


def test_find_overlap__compares_pictures_of_every_kind(tmp_path: Path, jpegs: Any) -> None:
    (path,) = jpegs(tmp_path, ["a.jpg"])
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    train = [Path(path).read_bytes(), Image.fromarray(array), grey, None]
    validation = [path, Image.fromarray(array.copy()), grey.copy(), grey.reshape(8, 6), None]
    assert find_overlap(of_values(train), of_values(validation), None).pairs == ((0, 0), (1, 1), (2, 2))


def test_find_overlap__leaves_large_tables_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_overlap, "_MAX_READ", 3)
    assert find_overlap(of_values([b"x"] * 2), of_values([b"x"] * 2), None).compared == 0
