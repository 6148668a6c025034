"""Finds pictures that two parts of the data share, by their content."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from modelscope_beit.data.records import Records
from modelscope_beit.images.downloading import is_url

# Hard disks and network folders answer many questions at once.
_THREADS = 16

# Of larger validation data so many pictures, evenly spread, are looked for in the training data.
_MAX_COMPARED = 20_000

# Pictures that are no files are read as a whole to be compared, so only so many.
_MAX_READ = 10_000

_ITEMS_AT_ONCE = 100

# JPEG files begin alike; their last bytes differ.
_TAIL_BYTES = 4096

# Sizes of what has none.
MISSING = -1
UNKNOWN = -2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Overlap:
    """pairs: (row in training, row in validation) of equal content, each validation row once.

    compared: validation pictures that were looked for; 0: too many to read.
    """

    pairs: tuple[tuple[int, int], ...]
    compared: int


def file_sizes(paths: Sequence[str], on_files: Callable[[int], None] | None = None) -> np.ndarray:
    """Returns (N,) int64: the size of each file in bytes; MISSING if there is none, UNKNOWN for URLs.

    on_files: called with how many more files have been looked at.
    """

    def size(path: str) -> int:
        if is_url(path):
            return UNKNOWN
        try:
            return os.path.getsize(path) if not os.path.isdir(path) else MISSING
        # ValueError: a null character in the path.
        except (OSError, ValueError):
            return MISSING

    return np.array(_mapped(size, paths, on_files), np.int64)


def find_overlap(train: Records, validation: Records, sizes: tuple[np.ndarray, np.ndarray] | None) -> Overlap:
    """Returns the validation pictures that are also in the training data, byte for byte.

    sizes: the file sizes of both, if both are files. Only files of equal size are opened, and only those with equal
    ends are read. Files that cannot be read equal no other.
    """
    if sizes is None:
        if len(train) + len(validation) > _MAX_READ:
            return Overlap((), 0)
        rows = range(len(train)), range(len(validation))
        return _paired(_keys(train, rows[0], _content_key), _keys(validation, rows[1], _content_key), len(validation))
    looked_for = np.arange(len(validation))
    if len(looked_for) > _MAX_COMPARED:
        looked_for = np.linspace(0, len(validation) - 1, _MAX_COMPARED).astype(np.int64)
    wanted = sizes[1][looked_for]
    rows_of = [np.flatnonzero(np.isin(sizes[0], wanted[wanted > 0])), looked_for[np.isin(wanted, sizes[0])]]
    for key in (_tail_key, _file_key):
        keys = [_keys(part, rows, key) for part, rows in zip((train, validation), rows_of, strict=True)]
        common = keys[0].keys() & keys[1].keys()
        rows_of = [np.array(sorted(row for value in common for row in some[value]), np.int64) for some in keys]
    return _paired(keys[0], keys[1], len(looked_for))


def _paired(in_train: dict[Any, list[int]], in_validation: dict[Any, list[int]], compared: int) -> Overlap:
    pairs = [(in_train[key][0], row) for key, rows in in_validation.items() if key in in_train for row in rows]
    return Overlap(tuple(sorted(pairs, key=lambda pair: pair[1])), compared)


def _keys(records: Records, rows: Iterable[int], key_of: Callable[[Any], Any]) -> dict[Any, list[int]]:
    """Returns key -> rows; rows that cannot be read have none."""

    def key(row: int) -> Any:
        try:
            return key_of(records[row].image)
        # A picture that cannot be read is told when it is decoded.
        except (OSError, ValueError):
            return None

    numbers = [int(row) for row in rows]
    found: dict[Any, list[int]] = defaultdict(list)
    for row, value in zip(numbers, _mapped(key, numbers), strict=True):
        if value is not None:
            found[value].append(row)
    return found


def _tail_key(path: str) -> tuple[int, bytes]:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        return size, _sha1(file.read())


def _file_key(path: str) -> bytes:
    with open(path, "rb") as file:
        return _sha1(file.read())


def _content_key(image: Any) -> bytes:
    """The digest of a picture of any kind."""
    if isinstance(image, str | os.PathLike):
        return _file_key(os.fspath(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return _sha1(bytes(image))
    shape = getattr(image, "size", None) if hasattr(image, "mode") else getattr(image, "shape", None)
    return _sha1(repr((getattr(image, "mode", None), shape)).encode() + image.tobytes())


def _sha1(content: bytes) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).digest()


def _mapped(
    function: Callable[[Item], Result], items: Sequence[Item], on_items: Callable[[int], None] | None = None
) -> list[Result]:
    """The results of all items, in order. Threads take many items at once: a future each would fill the memory."""
    chunks = [items[start : start + _ITEMS_AT_ONCE] for start in range(0, len(items), _ITEMS_AT_ONCE)]
    results: list[Result] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            results += part
            if on_items is not None:
                on_items(len(part))
    return results
