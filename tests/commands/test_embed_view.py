"""The rows and the table of features."""

import io

import numpy as np
from rich.console import Console

from modelscope_beit.commands.embed_view import embedding_rows, neighbour_table
from modelscope_beit.features.neighbours import Neighbour
from modelscope_beit.features.table import FeatureTable


def table(errors: dict[int, str]) -> FeatureTable:
    features = np.zeros((4, 8), np.float32)
    return FeatureTable(list("abcd"), ["x"] * 4, ["train"] * 4, features, errors, {"feature": "mean"})


def test_embedding_rows__tell_what_is_in_the_table() -> None:
    assert embedding_rows(table({1: "broken"}), 0.5) == {
        "feature": "mean, 8 numbers a picture",
        "pictures": "3",
        "not readable": "1 more; the column error says why",
        "time": "0.5 s, 8.0 images/s",
    }
    assert list(embedding_rows(table({}), None)) == ["feature", "pictures"]


def test_neighbour_table__shows_names_as_they_are() -> None:
    found = [
        Neighbour("[red]a.jpg", "cat", 0.98765),
        Neighbour("b.jpg", ["sky", "sea"], -0.5),
        Neighbour("c.jpg", None, 0.0),
    ]
    console = Console(file=io.StringIO(), width=60)
    console.print(neighbour_table(found))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines == [
        ["cosine", "picture", "label"],
        ["0.9877", "[red]a.jpg", "cat"],
        ["-0.5000", "b.jpg", "sky,", "sea"],
        ["0.0000", "c.jpg"],
    ]
