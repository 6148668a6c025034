"""Where a value keeps its picture, and addresses that only ModelScope can read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from modelscope.fileio import File
from PIL import Image

import helpers
from modelscope_beit.errors import ImageError
from modelscope_beit.plugin.inputs import is_stream, picture_in


class HasItemsOnly:
    """What torch's data sets have: a length and items, no iterator."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, place: int) -> str:
        raise IndexError


@pytest.mark.parametrize(
    "value", [iter(()), (x for x in ()), range(3), {1, 2}, HasItemsOnly(), map(str, ())], ids=helpers.short_id
)
def test_is_stream__of_what_gives_pictures(value: object) -> None:
    assert is_stream(value)


@pytest.mark.parametrize(
    "value",
    ["a.jpg", b"", bytearray(), Path("a"), {}, [], (), None, 3, np.zeros(3), torch.zeros(3), Image.new("L", (1, 1))],
    ids=helpers.short_id,
)
def test_is_stream__not_of_one_picture_or_a_list(value: object) -> None:
    assert not is_stream(value)


@pytest.mark.parametrize(
    ("row", "picture"),
    [
        ({"image": "a", "label": 3}, "a"),
        ({"image:FILE": "a", "image": "b"}, "a"),
        ({"image": None, "filename": Path("a")}, Path("a")),
        ({"image": {"bytes": b"x", "path": "a"}}, b"x"),
        ({"image:FILE": ["a"]}, "a"),
    ],
    ids=helpers.short_id,
)
def test_picture_in__finds_it_in_a_row(row: dict[str, object], picture: object) -> None:
    assert picture_in(row) == picture


@pytest.mark.parametrize(
    "value", ["http://a/b.jpg", "https://a", "file:///a", "data:image/png;base64,", "a.jpg", "C:\\a.jpg", 3]
)
def test_picture_in__leaves_the_rest_to_the_reader(value: object) -> None:
    assert picture_in(value) is value


def test_picture_in__reads_other_addresses_through_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(File, "read", staticmethod(lambda uri: uri.encode()))
    assert picture_in({"image": "oss://bucket/cat.jpg"}) == b"oss://bucket/cat.jpg"


@pytest.mark.parametrize("address", ["oss://bucket/cat.jpg", "s3://bucket/cat.jpg", "oss://a://b"])
def test_picture_in__names_an_address_that_the_host_cannot_read(address: str) -> None:
    with pytest.raises(ImageError, match=address):
        picture_in(address)
