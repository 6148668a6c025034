import numpy as np
import pytest

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Record, Records
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.label_files import imagenet_1k_labels


def made_of(labels: list[int] | np.ndarray, names: tuple[str, ...] = ("cat", "dog", "fox")) -> Records:
    paths = [f"{row}.jpg" for row in range(len(labels))]
    return Records(FilePictures(paths), np.array(labels), names, description="pets", notes=("a note",))


def test_records__are_a_sequence() -> None:
    records = made_of([2, 0])
    assert [record.label for record in records] == [2, 0]
    assert records[-1] == Record("1.jpg", 0, "1.jpg")
    with pytest.raises(IndexError):
        records[2]


def test_records__of_several_classes_tell_their_numbers() -> None:
    records = made_of(np.array([[True, False, True], [False] * 3]))
    assert records.is_multi_label
    assert [record.label for record in records] == [(0, 2), ()]
    assert records.class_counts().tolist() == [1, 0, 1]


def test_select__keeps_pictures_and_labels_together() -> None:
    part = made_of([0, 1, 2, 1]).select(np.array([3, 2, 0]), "part").select(np.array([0, 1]), "part of it")
    assert [(record.name, record.label) for record in part] == [("3.jpg", 1), ("2.jpg", 2)]
    assert part.files() == ["3.jpg", "2.jpg"]
    assert part.labels().tolist() == [1, 2] and part.description == "part of it"


def test_relabelled__goes_by_name() -> None:
    records = made_of([0, 1, 2]).relabelled(["fox", "cow", "dog", "cat"])
    assert [records.class_names[record.label] for record in records] == ["cat", "dog", "fox"]
    assert records.labels().tolist() == [3, 2, 0]
    assert records.notes == ("a note",)


def test_relabelled__moves_the_marks_of_several_classes() -> None:
    records = made_of(np.array([[True, False, True], [False, True, False]])).relabelled(["fox", "cow", "dog", "cat"])
    assert [record.label for record in records] == [(0, 3), (2,)]


def test_relabelled__needs_partners_only_for_classes_with_pictures() -> None:
    assert made_of([1, 1]).relabelled(["dog"]).labels().tolist() == [0, 0]
    with pytest.raises(SettingsError, match="1 of its classes.*'cat'; expected are 'dog'"):
        made_of([0, 1]).relabelled(["dog"])


def test_relabelled__counts_the_folders_of_imagenet() -> None:
    names = imagenet_1k_labels()
    by_id = made_of([1, 0], ("n01440764", "n15075141")).relabelled(names)
    assert [names[label].split(",")[0] for label in by_id.labels()] == ["toilet tissue", "tench"]
    # ImageNet-V2 calls them by their number.
    assert made_of([0, 1], ("0", "999")).relabelled(names).labels().tolist() == [0, 999]


def test_relabelled__refuses_labels_that_no_class_has() -> None:
    with pytest.raises(SettingsError, match="label 9"):
        made_of([0, 9]).relabelled(["dog", "cat", "fox"])


def test_class_counts__leaves_out_what_is_no_class() -> None:
    assert made_of([0, 2, 2, 9, -1]).class_counts().tolist() == [1, 0, 2]


def test_label_problem__tells_value_count_and_file() -> None:
    assert made_of([0, 2]).label_problem() is None
    text = made_of([0, 9, -1, 9]).label_problem() or ""
    assert "from 0 to 2" in text
    assert "label 9 (2 pictures, the first is 1.jpg)" in text
    assert "label -1 (1 pictures, the first is 2.jpg)" in text
    assert "and 4 other labels" in (made_of(list(range(3, 12))).label_problem() or "")
