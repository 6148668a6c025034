import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.data.pictures import FilePictures, RowPictures, picture_and_name
from modelscope_beit.errors import ImageError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cats/1.jpg", ("pets/cats/1.jpg", "pets/cats/1.jpg")),
        (Path("cats/1.jpg"), ("pets/cats/1.jpg", "pets/cats/1.jpg")),
        ("/abs/1.jpg", ("/abs/1.jpg", "/abs/1.jpg")),
        ("https://example.com/1.jpg", ("https://example.com/1.jpg", "https://example.com/1.jpg")),
        # ModelScope's streams.
        (["/cache/1.jpg"], ("/cache/1.jpg", "/cache/1.jpg")),
        # The package datasets.
        ({"bytes": b"\xff\xd8", "path": "1.jpg"}, (b"\xff\xd8", "1.jpg")),
        ({"bytes": b"\xff\xd8", "path": None}, (b"\xff\xd8", "#4")),
        ({"bytes": None, "path": "1.jpg"}, ("pets/1.jpg", "pets/1.jpg")),
        (b"\xff\xd8", (b"\xff\xd8", "#4")),
    ],
)
def test_picture_and_name__takes_every_kind_of_cell(value: Any, expected: tuple[Any, str]) -> None:
    assert picture_and_name(value, 4, "pets") == expected


def test_picture_and_name__names_opened_files(jpegs: Any, tmp_path: Path) -> None:
    (path,) = jpegs(tmp_path, ["1.jpg"])
    with Image.open(path) as picture:
        assert picture_and_name(picture, 4) == (picture, path)
    array = np.zeros((4, 4, 3), np.uint8)
    assert picture_and_name(array, 4) == (array, "#4")


@pytest.mark.parametrize("value", [None, [], ["a.jpg", "b.jpg"], {"bytes": None, "path": None}])
def test_picture_and_name__tells_the_row_without_a_picture(value: Any) -> None:
    with pytest.raises(ImageError, match="Row 4"):
        picture_and_name(value, 4)


def test_picture_and_name__explains_tensors() -> None:
    with pytest.raises(ImageError, match="transform=None"):
        picture_and_name(torch.zeros(3, 4, 4), 4)


def test_file_pictures__are_their_paths() -> None:
    pictures = FilePictures(["a.jpg", "b.jpg"])
    assert pictures.read(1) == ("b.jpg", "b.jpg")
    assert pictures.files() == ["a.jpg", "b.jpg"]


def test_row_pictures__lets_one_thread_at_a_time_into_foreign_code() -> None:
    inside, most = 0, 0

    def slow(row: int) -> bytes:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return b"picture"

    pictures = RowPictures(slow, one_at_a_time=True)
    threads = [threading.Thread(target=pictures.read, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert pictures.files() is None
