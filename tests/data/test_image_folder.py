import os
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.data.image_folder import read_image_folder
from modelscope_beit.errors import SettingsError


def by_file(records: Any) -> dict[str, str]:
    """File name -> class name."""
    return {os.path.basename(record.name): records.class_names[record.label] for record in records}


def test_read_image_folder__reads_in_depth_and_by_name(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["dog/b.jpg", "dog/a.JPEG", "cat/indoors/deep/c.jpg", "狐狸/d.png"])
    records = read_image_folder(tmp_path)
    assert records.class_names == ("cat", "dog", "狐狸")
    assert [os.path.basename(record.name) for record in records] == ["c.jpg", "a.JPEG", "b.jpg", "d.png"]
    assert records.labels().tolist() == [0, 1, 1, 2]
    assert str(tmp_path) in records.description and not records.notes


def test_read_image_folder__passes_over_and_counts_what_is_no_picture(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["cat/a.jpg", "dog/b.jpg", "loose.jpg", "cat/.hidden.jpg", ".git/x.jpg"])
    for name in ("cat/Thumbs.db", "cat/notes.txt", "dog/notes.txt", "dog/README"):
        (tmp_path / name).write_text("no picture")
    records = read_image_folder(tmp_path)
    assert by_file(records) == {"a.jpg": "cat", "b.jpg": "dog"}
    text = "\n".join(records.notes)
    assert "4 files" in text and "2 .txt" in text and "1 .db" in text and "1 without suffix" in text
    assert "1 pictures in no class folder" in text and "loose.jpg" in text


def test_read_image_folder__counts_numbered_folders_as_garbage265_does(tmp_path: Path, jpegs: Any) -> None:
    """Folders in the order of their letters (0, 1, 10, 2) would permute the lines of classname.txt."""
    jpegs(tmp_path, [f"{number}/{number}.jpg" for number in range(12)])
    (tmp_path / "classname.txt").write_text("".join(f"name {number}\r\n" for number in range(12)), encoding="utf-8")
    expected = {f"{number}.jpg": f"name {number}" for number in range(12)}
    assert by_file(read_image_folder(tmp_path)) == expected
    (tmp_path / "classname.txt").unlink()
    assert read_image_folder(tmp_path).class_names == tuple(map(str, range(12)))
    assert by_file(read_image_folder(tmp_path, class_names=[f"name {number}" for number in range(12)])) == expected


def test_read_image_folder__matches_names_and_not_positions(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path / "val", ["dog/a.jpg", "cat/b.jpg"])
    records = read_image_folder(tmp_path / "val", class_names=["fox", "dog", "cat"])
    assert records.class_names == ("fox", "dog", "cat")
    assert by_file(records) == {"a.jpg": "dog", "b.jpg": "cat"}
    # A file in the folder of the whole data set comes before the given names.
    (tmp_path / "classname.txt").write_text("cat\ndog\n")
    assert read_image_folder(tmp_path / "val", class_names=["fox", "dog", "cat"]).class_names == ("cat", "dog")


def test_read_image_folder__tells_folders_that_are_in_no_list(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["dog/a.jpg", "cta/b.jpg"])
    with pytest.raises(SettingsError, match="'cta' .did you mean 'cat'"):
        read_image_folder(tmp_path, class_names=["cat", "dog"])


def test_read_image_folder__uses_its_own_names_where_a_list_is_about_something_else(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["dog/a.jpg", "cat/b.jpg"])
    records = read_image_folder(tmp_path, class_names=["tench", "goldfish", "shark"])
    assert records.class_names == ("cat", "dog")
    assert "tench" in records.notes[0]


def test_read_image_folder__lets_an_empty_folder_name_a_class(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path, ["dog/a.jpg", "ape/b.jpg"])
    (tmp_path / "bee").mkdir()
    records = read_image_folder(tmp_path)
    assert records.class_names == ("ape", "bee", "dog")
    assert by_file(records) == {"a.jpg": "dog", "b.jpg": "ape"}


def test_read_image_folder__follows_links_but_not_in_circles(tmp_path: Path, jpegs: Any) -> None:
    jpegs(tmp_path / "elsewhere", ["a.jpg"])
    jpegs(tmp_path / "pets", ["dog/b.jpg"])
    try:
        (tmp_path / "pets" / "cat").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "pets" / "dog" / "round").symlink_to(tmp_path / "pets" / "dog")
    except OSError:
        pytest.skip("this system does not let this account make symbolic links")
    assert by_file(read_image_folder(tmp_path / "pets")) == {"a.jpg": "cat", "b.jpg": "dog"}


@pytest.mark.parametrize("names", [[], ["a.jpg", "b.jpg"]])
def test_read_image_folder__says_what_it_found_instead(tmp_path: Path, jpegs: Any, names: list[str]) -> None:
    jpegs(tmp_path, names)
    with pytest.raises(SettingsError) as caught:
        read_image_folder(tmp_path)
    assert ("0 folders and 2 files (a.jpg, b.jpg)" if names else "nothing in it") in str(caught.value)


def test_read_image_folder__is_quick_with_many_files(tmp_path: Path) -> None:
    for number in range(50):
        folder = tmp_path / f"class {number}"
        folder.mkdir()
        for file in range(100):
            (folder / f"{file}.jpg").touch()
    records = read_image_folder(tmp_path)
    assert len(records) == 5000 and records.class_counts().tolist() == [100] * 50
