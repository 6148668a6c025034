"""Text files of class names as editors of every system leave them."""

from pathlib import Path

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.class_file import read_class_file


@pytest.mark.parametrize("content", ["a\nb 狗\n", "a\r\nb 狗\r\n", "\ufeffa\nb 狗", "a \n b 狗\n\n\n"])
def test_read_class_file__line_ends_marks_and_trailing_lines(tmp_path: Path, content: str) -> None:
    file = tmp_path / "classname.txt"
    file.write_bytes(content.encode())
    assert read_class_file(file) == ("a", "b 狗")


def test_read_class_file__only_line_feeds_end_a_name(tmp_path: Path) -> None:
    file = tmp_path / "classname.txt"
    file.write_bytes("a\u2028b\x0bc\n".encode())
    assert read_class_file(file) == ("a\u2028b\x0bc",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\nb\n", "no class name on line 2;"),
        (b"", "no class name at all"),
        (b"\n\n", "no class name at all"),
        ("狗".encode("gbk"), "UTF-8"),
        (None, "UTF-8 text file, one a line, but .*No such file"),
    ],
)
def test_read_class_file__tells_what_is_wrong(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "classname.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        read_class_file(file)
    assert str(file) in str(caught.value)
