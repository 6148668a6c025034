from pathlib import Path
from typing import Any

import numpy as np

from modelscope_beit.data.class_names import KnownNames
from modelscope_beit.data.labelling import label_pictures
from modelscope_beit.data.pictures import FilePictures


def test_label_pictures__names_classes_by_the_most_trusted_list(tmp_path: Path) -> None:
    pictures = FilePictures([str(tmp_path / "b" / "1.jpg"), str(tmp_path / "a" / "2.jpg")])
    options: dict[str, Any] = {"description": "pets"}

    def names() -> tuple[str, ...]:
        return label_pictures(pictures, np.array([0, 1]), **options).class_names

    assert names() == ("b", "a")  # the folders, by their labels and not by the alphabet
    options |= {"class_names": ["given 0", "given 1"]}
    assert names() == ("given 0", "given 1")
    (tmp_path / "classname.txt").write_text("line 0\nline 1\n")
    options |= {"near": str(tmp_path / "b" / "1.jpg")}
    assert names() == ("line 0", "line 1")
    options |= {"own_names": KnownNames(("own 0", "own 1"), "ClassLabel")}
    assert names() == ("own 0", "own 1")


def test_label_pictures__trusts_folders_only_if_each_class_has_one() -> None:
    def names(paths: list[str], labels: list[int]) -> tuple[str, ...]:
        return label_pictures(FilePictures(paths), np.array(labels), description="").class_names

    assert names(["cat/1.jpg", "dog/2.jpg", "dog/3.jpg"], [1, 0, 0]) == ("dog", "cat")
    assert names(["cat/1.jpg", "dog/2.jpg", "dog/3.jpg"], [1, 0, 1]) == ("0", "1")
    assert names(["cat/1.jpg", "dog/2.jpg"], [2, 0]) == ("0", "1", "2")
    assert names(["all/1.jpg", "all/2.jpg"], [1, 0]) == ("0", "1")
    assert names(["1.jpg", "2.jpg"], [1, 0]) == ("0", "1")


def test_label_pictures__keeps_names_that_labels_are() -> None:
    records = label_pictures(FilePictures(["x/1.jpg", "y/2.jpg"]), ["1", "2"], description="")
    assert records.class_names == ("1", "2")
