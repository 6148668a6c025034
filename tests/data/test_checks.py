import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from modelscope_beit.data import checks
from modelscope_beit.data.checks import check_data
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.image_folder import read_image_folder
from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.errors import SettingsError

NAMES = ("cat", "dog", "fox")


@pytest.fixture
def parts(tmp_path: Path, jpegs: Any) -> tuple[list[str], list[str]]:
    """Paths of 12 training and 6 validation pictures; the class of each is its number modulo 3."""
    return (
        jpegs(tmp_path / "train", [f"{row:02}.jpg" for row in range(12)]),
        jpegs(tmp_path / "val", [f"{row:02}.jpg" for row in range(6)]),
    )


def made_of(
    paths: list[str], labels: list[int] | None = None, names: tuple[str, ...] = NAMES, part: str = ""
) -> Records:
    numbers = np.array([row % 3 for row in range(len(paths))] if labels is None else labels, np.int64)
    return Records(FilePictures(paths), numbers, names, description=part or "pets")


def problem_of(train: Any, validation: Any = None, num_classes: int | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        check_data(train, validation, num_classes=num_classes)
    return str(caught.value)


def test_check_data__tells_what_it_found(parts: tuple[list[str], list[str]]) -> None:
    train = made_of(parts[0], [0] * 7 + [1] * 4 + [2], part="the folder pets/train")
    rows = dict(check_data(train, made_of(parts[1]), num_classes=3).rows())
    assert rows["Training"] == "12 pictures, 3 classes, the folder pets/train"
    assert rows["Class names"] == "'cat', 'dog', 'fox'"
    assert rows["Training pictures per class"] == "1 (fox) to 7 (cat)"
    assert rows["Validation pictures per class"] == "2 each"
    assert rows["Training sample"] == "8 decoded: 40-40 pixels wide, 32-32 pixels high"
    assert rows["Overlap"] == "none of 6 validation pictures is in the training data"


def test_check_data__counts_pictures_in_both_parts(parts: tuple[list[str], list[str]]) -> None:
    shutil.copy(parts[0][7], parts[1][1])
    rows = dict(check_data(made_of(parts[0]), made_of(parts[1]), num_classes=None).rows())
    assert "1 of 6 validation pictures" in rows["Overlap"]
    assert f"{parts[1][1]} = {parts[0][7]}" in rows["Overlap"]


def test_check_data__tells_everything_at_once(parts: tuple[list[str], list[str]]) -> None:
    train_paths, validation_paths = parts
    Path(train_paths[3]).unlink()
    Path(train_paths[4]).write_bytes(b"")
    Path(validation_paths[0]).write_bytes(Path(validation_paths[0]).read_bytes()[:200])
    text = problem_of(
        made_of(train_paths, [0, 1, 2] * 3 + [9, 9, -1], part="training part"),
        made_of(validation_paths, part="validation part"),
        num_classes=5,
    )
    assert "num_classes is 5, but the data have 3 classes" in text
    assert f"label 9 (2 pictures, the first is {train_paths[9]})" in text and "label -1 (1 pictures" in text
    assert f"training part: 1 of 12 files do not exist: {train_paths[3]}" in text
    assert f"training part: 1 of 12 files are empty: {train_paths[4]}" in text
    assert f"validation part, row 0: {validation_paths[0]}: the header cannot be read" in text
    assert len(text.splitlines()) == 6


def test_check_data__refuses_classes_that_only_validation_has(parts: tuple[list[str], list[str]]) -> None:
    text = problem_of(made_of(parts[0], [0, 1] * 6), made_of(parts[1]))
    assert "1 classes" in text and "fox (2 validation pictures)" in text


def test_check_data__accepts_classes_that_only_training_has(parts: tuple[list[str], list[str]]) -> None:
    names = (*NAMES, "unicorn")
    train, validation = made_of(parts[0], names=names), made_of(parts[1], [0, 1] * 3, names)
    rows = dict(check_data(train, validation, num_classes=4).rows())
    assert rows["Not validated"] == "1 classes: 'fox'"
    assert rows["Without pictures"] == "1 classes: 'unicorn'"


def test_check_data__accepts_two_classes_and_one_part(parts: tuple[list[str], list[str]]) -> None:
    two = made_of(parts[0], [0, 1] * 6, ("cat", "dog"))
    assert "Validation" not in dict(check_data(two, None, num_classes=None).rows())
    assert "Training" not in dict(check_data(None, two, num_classes=2).rows())


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (([0] * 3, ("cat",)), None, "two classes at least"),
        (([], NAMES), None, "has no pictures"),
        (([0, 1, 2], NAMES), ([0, 1, 2], ("dog", "cat", "fox")), "same order.*'cat', 'dog'.*'dog', 'cat'"),
    ],
)
def test_check_data__says_what_is_wrong(parts: Any, train: Any, validation: Any, message: str) -> None:
    made = [part and made_of(parts[0][: len(part[0])], part[0], part[1]) for part in (train, validation)]
    with pytest.raises(SettingsError, match=message):
        check_data(*made, num_classes=None)


def test_check_data__refuses_one_class_a_picture_beside_several(parts: tuple[list[str], list[str]]) -> None:
    several = Records(FilePictures(parts[0]), np.ones((12, 3), bool), NAMES, description="")
    assert "multi-label" in dict(check_data(several, None, num_classes=3).rows())["Training"]
    assert "both several" in problem_of(several, made_of(parts[1]))


def test_check_data__repeats_the_notes_of_the_readers(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["cat/1.jpg", "dog/2.jpg"])
    (tmp_path / "cat" / "notes.txt").touch()
    rows = check_data(read_image_folder(tmp_path), None, num_classes=None).rows()
    assert any(name == "Note" and "1 .txt" in text for name, text in rows)


def test_check_data__looks_at_the_beginning_of_streams(parts: tuple[list[str], list[str]]) -> None:
    table = {"image": [parts[0][0], "gone.jpg"], "label": [0, 1]}
    stream = records_of(datasets.Dataset.from_dict(table).to_iterable_dataset(), class_names=["cat", "dog"])
    rows = dict(check_data(stream, None, num_classes=2).rows())
    assert rows["Training"].startswith("2 classes, the streamed") and rows["Training sample"].startswith("1 decoded")
    assert "num_classes is 7" in problem_of(stream, num_classes=7)


def test_check_data__tells_how_far_it_has_come_with_many_files(
    parts: tuple[list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []
    train = made_of(parts[0])
    check_data(train, None, num_classes=None, on_files=lambda *count: calls.append(count))
    assert not calls
    monkeypatch.setattr(checks, "_MANY_FILES", 10)
    check_data(train, None, num_classes=None, on_files=lambda *count: calls.append(count))
    assert calls[-1] == (12, 12)


def test_check_data__is_quick_with_many_files(tmp_path: Path, parts: tuple[list[str], list[str]]) -> None:
    many = made_of(parts[0] * 2000)
    assert len(many) == 24_000
    check_data(many, made_of(parts[1]), num_classes=3)
