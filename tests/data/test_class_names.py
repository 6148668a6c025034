from pathlib import Path

import datasets
import pytest

from modelscope_beit.data.class_names import (
    class_label_names,
    find_class_file,
    in_natural_order,
    known_names,
    match_names,
)
from modelscope_beit.model_folder.label_files import imagenet_1k_labels, imagenet_1k_wordnet_ids


def test_find_class_file__walks_up_to_the_hash_that_modelscope_unpacks_into(tmp_path: Path) -> None:
    top = tmp_path / "extracted" / "3fa9" / "train"
    top.mkdir(parents=True)
    picture = top / "deep" / "deeper" / "deepest" / "cat" / "1.jpg"
    assert find_class_file(picture) is None
    (tmp_path / "classname.txt").write_text("outside\n")
    assert find_class_file(picture) is None
    (top / "classname.txt").write_text("cat\n")
    assert find_class_file(picture) == top / "classname.txt"


def test_find_class_file__of_local_data_ends_at_the_data_sets_folder(tmp_path: Path) -> None:
    picture = tmp_path / "home" / "pets" / "train" / "cat" / "1.jpg"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "classname.txt").write_text("of something else\n")
    assert find_class_file(picture) is None
    (tmp_path / "home" / "pets").mkdir()
    (tmp_path / "home" / "pets" / "classname.txt").write_text("cat\n")
    assert find_class_file(picture) == tmp_path / "home" / "pets" / "classname.txt"


def test_in_natural_order__counts_where_all_are_numbers() -> None:
    assert in_natural_order(["10", "9", "1"]) == ["1", "9", "10"]
    assert in_natural_order(["10", "9", "a"]) == ["10", "9", "a"]


def test_match_names__goes_by_name() -> None:
    assert match_names(["b", "x", "a"], ["a", "b"]).tolist() == [1, -1, 0]


def test_match_names__takes_numbers_for_places() -> None:
    assert match_names(["0", "2", "10"], ["a", "b", "c"]).tolist() == [0, 2, -1]
    # ... unless the classes are called so.
    assert match_names(["10", "2"], ["2", "10"]).tolist() == [1, 0]


def test_match_names__pairs_equal_names_in_their_order() -> None:
    names = imagenet_1k_labels()
    assert names[134].split(",")[0] == names[517].split(",")[0] == "crane"
    assert match_names(names, names).tolist() == list(range(1000))


def test_match_names__knows_the_wordnet_ids_of_imagenet() -> None:
    names, ids = imagenet_1k_labels(), imagenet_1k_wordnet_ids()
    found = match_names(["n01440764", "n15075141", "n00000001"], names)
    assert [names[place].split(",")[0] for place in found[:2]] == ["tench", "toilet tissue"]
    assert found[2] == -1
    assert match_names(ids, names).tolist() == list(range(1000))
    assert (match_names(ids, [f"my class {number}" for number in range(1000)]) == -1).all()


def test_known_names__prefers_the_file_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "classname.txt").write_text("cat\ndog\n")
    known = known_names(tmp_path / "1.jpg", ["Katze", "Hund"])
    assert [names.names for names in known] == [("cat", "dog"), ("Katze", "Hund")]
    assert known_names(None, None) == known_names(None, []) == []


@pytest.mark.parametrize(
    "feature",
    [datasets.ClassLabel(names=["x", "y"]), datasets.List(datasets.ClassLabel(names=["x", "y"]))],
)
def test_class_label_names__finds_them_in_lists_too(feature: object) -> None:
    found = class_label_names(feature)
    assert found is not None and found.names == ("x", "y")
    assert class_label_names(datasets.Value("int64")) is None
