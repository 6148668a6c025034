from typing import Any

import numpy as np
import pytest
import torch

from modelscope_beit.data.class_names import KnownNames
from modelscope_beit.data.labels import read_labels
from modelscope_beit.errors import SettingsError

PETS = KnownNames(("cat", "dog", "fox"), "pets.txt")


@pytest.mark.parametrize(
    "values",
    [
        np.array([2, 0, 2], np.int32),
        [2, 0, 2],
        [np.int64(2), np.uint8(0), 2.0],
        [torch.tensor(2), torch.tensor(0), torch.tensor(2)],
        ["fox", "cat", "fox"],
        ["2", "0", "2"],
    ],
)
def test_read_labels__finds_the_same_in_every_kind(values: Any) -> None:
    labels = read_labels(values, [PETS], source="data")
    assert labels.values.tolist() == [2, 0, 2]
    assert labels.values.dtype == np.int64
    assert labels.class_names == PETS.names


def test_read_labels__matches_names_however_they_are_ordered() -> None:
    assert read_labels(["fox", "dog", "cat"], [PETS], source="data").values.tolist() == [2, 1, 0]


def test_read_labels__without_names_takes_those_that_occur() -> None:
    assert read_labels(["dog", "cat", "dog"], source="data").class_names == ("cat", "dog")
    assert read_labels(["10", "9"], source="data").class_names == ("9", "10")
    assert read_labels([3, 1], source="data").class_names == ("0", "1", "2", "3")


def test_read_labels__passes_over_names_that_belong_to_something_else() -> None:
    stale = KnownNames(("tench", "goldfish"), "the class names given")
    labels = read_labels(["dog", "cat"], [stale], source="data")
    assert labels.class_names == ("cat", "dog")
    assert "the class names given" in labels.notes[0] and "tench" in labels.notes[0]


def test_read_labels__tells_every_unknown_name_with_its_place_and_the_nearest_one() -> None:
    with pytest.raises(SettingsError) as caught:
        read_labels(["dog", "dgo", "cat", "bird", "dgo"], [PETS], source="pets.csv", place="line {}".format)
    text = str(caught.value)
    assert "line 1 has 'dgo' (did you mean 'dog'?)" in text
    assert "line 3 has 'bird'" in text
    assert text.count("dgo") == 1 and "pets.txt" in text


def test_read_labels__keeps_numbers_that_no_class_has() -> None:
    assert read_labels([0, 7, -1], [PETS], source="data").values.tolist() == [0, 7, -1]


@pytest.mark.parametrize("values", [["cat", None, "dog"], [0, None, 1], [0, "dog", 1], [0.5, 1, 2], [[0], 1, [2]]])
def test_read_labels__tells_labels_of_another_kind(values: list[Any]) -> None:
    odd = next(row for row, value in enumerate(values) if type(value) is not type(values[2]))
    with pytest.raises(SettingsError, match=f"row {odd} has"):
        read_labels(values, [PETS], source="data")


def test_read_labels__refuses_numbers_that_are_no_places() -> None:
    with pytest.raises(SettingsError, match="numbers up to 900000"):
        read_labels([900000, 5], source="data")
    assert len(read_labels(np.array([900]), source="data").class_names) == 901


@pytest.mark.parametrize(
    "values",
    [
        [["cat", "fox"], [], ["dog"]],
        [[0, 2], [], [1]],
        [(2, 0), set(), np.array([1])],
        [["0", "2"], [], ["1"]],
        [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
        [torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])],
    ],
)
def test_read_labels__reads_several_classes_a_row(values: list[Any]) -> None:
    labels = read_labels(values, [PETS], source="data")
    assert labels.values.dtype == bool
    assert labels.values.tolist() == [[True, False, True], [False] * 3, [False, True, False]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0], [3]], "row 1 has 3"),
        ([["cat"], ["cat", "cta"]], "row 1 has 'cta'"),
        ([[1, 0], [0, 0]], "marks 2 classes"),
        ([[0], [None]], "row 1 has None"),
    ],
)
def test_read_labels__tells_the_row_of_a_wrong_class_among_several(values: list[Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_labels(values, [PETS], source="data")


def test_read_labels__is_fast_for_a_million_rows() -> None:
    # ImageNet's 1.3 million names in a second or two, not in minutes.
    values = ["fox", "cat", "dog"] * 100_000
    assert read_labels(values, [PETS], source="data").values[:3].tolist() == [2, 0, 1]
