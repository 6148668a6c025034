import pytest

from modelscope_beit.data.columns import SPLIT_COLUMNS, find_column, find_columns
from modelscope_beit.errors import SettingsError


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["image:FILE", "category"], ("image:FILE", "category")),
        (["image", "label"], ("image", "label")),
        (["id", "img", "fine_label", "coarse_label"], ("img", "fine_label")),
        (["Path", "Label"], ("Path", "Label")),
        # A streamed row of ModelScope: the path it had, and where it is now.
        (["image:FILE", "image", "category"], ("image:FILE", "category")),
    ],
)
def test_find_columns__knows_the_usual_names(columns: list[str], expected: tuple[str, str]) -> None:
    assert find_columns(columns, "data") == expected


def test_find_columns__lists_what_there_is() -> None:
    with pytest.raises(SettingsError) as caught:
        find_columns(["photo", "kind"], "pets.csv")
    text = str(caught.value)
    assert "'photo', 'kind'" in text and "'image:FILE'" in text and "'category'" in text and "pets.csv" in text


def test_find_columns__tells_only_what_is_missing() -> None:
    with pytest.raises(SettingsError) as caught:
        find_columns(["image", "kind"], "data")
    assert "for the picture" not in str(caught.value)


def test_find_column__may_find_none() -> None:
    assert find_column(["image"], SPLIT_COLUMNS) is None
