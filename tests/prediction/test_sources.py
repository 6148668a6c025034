"""What files, folders, URLs and lists become, against pathlib's own idea of a folder's pictures."""

import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelscope_beit.errors import ImageError
from modelscope_beit.prediction import sources
from modelscope_beit.prediction.sources import expand_sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures on three levels, among other files and hidden ones. Names only: nothing here is decoded."""
    shown = ["b.jpg", "a.PNG", "cats/2.jpeg", "cats/10.webp", "cats/old/x.gif", "dogs/d.TIFF", "b2/c.bmp"]
    others = ["notes.txt", ".hidden.jpg", ".cache/e.jpg", "cats/label.json", "empty/readme", "jpg"]
    for name in shown + others:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "tree"


def test_expand_sources__finds_the_pictures_of_a_folder_in_depth_and_in_order(tree: Path) -> None:
    suffixes = {".jpg", ".png", ".jpeg", ".webp", ".gif", ".tiff", ".bmp"}
    expected = [
        path
        for path in tree.rglob("*")
        if path.is_file()
        and path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(tree).parts)
    ]
    assert list(expand_sources([str(tree)])) == [str(path) for path in sorted(expected, key=lambda path: path.parts)]
    assert len(expected) == 7


def test_expand_sources__keeps_the_order_of_what_was_named(tree: Path) -> None:
    named = [str(tree / "b.jpg"), "https://example.org/x?y=1", str(tree / "dogs"), str(tree / "notes.txt")]
    expected = [named[0], named[1], str(tree / "dogs" / "d.TIFF"), named[3]]
    assert list(expand_sources(named)) == expected


def test_expand_sources__names_all_problems_at_once_and_at_once(tree: Path) -> None:
    with pytest.raises(ImageError) as caught:
        expand_sources([str(tree / "nothing.jpg"), str(tree), str(tree / "empty"), ""])
    message = str(caught.value)
    assert f"{tree / 'nothing.jpg'} does not exist" in message
    assert f"the folder {tree / 'empty'} and the folders in it have no picture" in message
    assert "the empty name does not exist" in message


def test_expand_sources__reads_a_list(tree: Path) -> None:
    lines = [f"{tree / 'b.jpg'}\r\n", "\n", "https://example.org/a.png\n", f"{tree / 'cats'}\n", " spaced .jpg"]
    expected = [str(tree / "b.jpg"), "https://example.org/a.png"]
    expected += [str(tree / "cats" / name) for name in ("10.webp", "2.jpeg", "old/x.gif")]
    assert list(expand_sources(["-"], lines)) == [*expected, " spaced .jpg"]


def test_expand_sources__passes_on_lines_that_name_nothing(tree: Path) -> None:
    lines = [f"{tree / 'gone.jpg'}\n", f"{tree / 'empty'}\n", "-\n"]
    assert list(expand_sources(["-"], lines)) == [str(tree / "gone.jpg"), str(tree / "empty"), "-"]


def test_expand_sources__reads_the_list_only_as_far_as_needed() -> None:
    def lines() -> Iterator[str]:
        yield "https://example.org/1\n"
        raise AssertionError("read too far")

    assert next(expand_sources(["-"], lines())) == "https://example.org/1"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_expand_sources__follows_links_but_not_in_circles(tree: Path) -> None:
    (tree / "dogs" / "up").symlink_to(tree)
    (tree / "dogs" / "more").symlink_to(tree / "b2")
    found = list(expand_sources([str(tree / "dogs")]))
    assert str(tree / "dogs" / "more" / "c.bmp") in found
    assert str(tree / "dogs" / "up" / "b.jpg") in found
    assert len(found) == len(set(found)) < 12


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root and Windows read every folder")
def test_expand_sources__tells_of_a_folder_that_may_not_be_read(tree: Path) -> None:
    (tree / "dogs").chmod(0)
    try:
        assert str(tree / "dogs") in list(expand_sources([str(tree)]))
        with pytest.raises(ImageError, match="may not be read"):
            expand_sources([str(tree / "dogs")])
    finally:
        (tree / "dogs").chmod(0o755)


def test_expand_sources__holds_one_folder_at_a_time(tmp_path: Path) -> None:
    for folder in range(40):
        (tmp_path / f"{folder:02}").mkdir()
        for number in range(100):
            (tmp_path / f"{folder:02}" / f"a-rather-long-name-of-a-picture-{number:03}.jpg").touch()
    tracemalloc.start()
    count = sum(1 for _ in expand_sources([str(tmp_path)]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4000
    assert peak < 200_000  # All 4,000 paths would be more than half a megabyte.


def test_expand_sources__sorts_a_folder_that_is_too_large_to_sort_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_NAMES_PER_RUN", 3)
    for name in ("b.jpg", "b a.jpg", "B.jpg", "é.jpg", "\U0001f431.jpg", "b-.jpg", "z/c.jpg", "b/y.jpg", "b./x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = sorted(tmp_path.rglob("*.jpg"), key=lambda path: path.parts)
    assert list(expand_sources([str(tmp_path)])) == [str(path) for path in expected]
    assert len(expected) == 9


def test_expand_sources__holds_little_more_than_the_letters_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_NAMES_PER_RUN", 128)
    for number in range(4000):
        (tmp_path / f"{number:026}.jpg").touch()
    tracemalloc.start()
    count = sum(1 for _ in expand_sources([str(tmp_path)]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4000
    assert peak < 50 * 4000 + 50_000  # As str they would be 80 each, and pointers to them.
