"""Where the pictures of records come from: files, or the rows of a table; read one at a time, when asked for."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from modelscope_beit.errors import ImageError
from modelscope_beit.images.downloading import is_url


class Pictures(Protocol):
    """Pictures by their row. Threads read rows at the same time."""

    def read(self, row: int) -> tuple[Any, str]:
        """Returns the picture, for images.reading.read_image, and its name."""

    def files(self) -> Sequence[str] | None:
        """Returns the path of every picture, or None if they are no files."""


class FilePictures:
    """Pictures that are files; their paths are their names."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def read(self, row: int) -> tuple[str, str]:
        """Returns the path, twice: as the picture and as its name."""
        return self._paths[row], self._paths[row]

    def files(self) -> Sequence[str]:
        """Returns the path of every picture."""
        return self._paths


class RowPictures:
    """Pictures that a function takes out of row n.

    data_prefix: the folder of relative paths.
    one_at_a_time: whether a lock keeps threads from calling it at the same time, as somebody's own code may need.
    """

    def __init__(self, value_of: Callable[[int], Any], *, data_prefix: str = "", one_at_a_time: bool) -> None:
        self._value_of = value_of
        self._data_prefix = data_prefix
        self._lock = threading.Lock() if one_at_a_time else None

    def read(self, row: int) -> tuple[Any, str]:
        """Returns the picture and its path, or its row where it has none."""
        if self._lock is None:
            return picture_and_name(self._value_of(row), row, self._data_prefix)
        with self._lock:
            return picture_and_name(self._value_of(row), row, self._data_prefix)

    def files(self) -> None:
        """Returns None: rows are not known to be files."""


def picture_and_name(value: Any, row: int, data_prefix: str = "") -> tuple[Any, str]:
    """Returns what a cell of a table holds as read_image takes it, and its name: the path, or "#7" for row 7.

    value: a path, which data_prefix precedes if it is relative; what read_image reads; {"bytes", "path"} as the
        package datasets keeps pictures; or a list of one of these, as ModelScope's streams have them.
    Raises ImageError if it is none of these, or nothing.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    name = f"#{row}"
    if isinstance(value, Mapping) and ("bytes" in value or "path" in value):
        content, path = value.get("bytes"), value.get("path")
        name = path or name
        value = path if content is None else content
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        value = path if is_url(path) else os.path.join(data_prefix, path)
        return value, value
    if value is None or isinstance(value, list | tuple):
        raise ImageError(f"Row {row}: a picture is expected, but it has {value!r:.60}.")
    if type(value).__module__.startswith("torch"):
        raise ImageError(
            f"Row {row}: a picture before any transform is expected, but a tensor came; leave the transform to the "
            "configuration (transform=None), so that rows have Pillow pictures."
        )
    return value, getattr(value, "filename", "") or name
