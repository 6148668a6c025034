"""Finds and shortens paths of this machine in texts that others will read. Standard library only."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

# First parts of absolute paths, here and on other people's machines.
_USUAL_ROOTS = (
    "Applications Library Users Volumes data dataset datasets disk etc home lustre mnt media nas nfs opt private proc "
    "root scratch share shared srv storage tmp usr var work workspace"
)
_PART = r"[^\s/\\\"'`|<>()\[\]{},;:*?]+"
_HOME_FOLDER = rf"~[A-Za-z0-9_]*/{_PART}(?:/{_PART})*/?"
_WINDOWS = rf"(?<![A-Za-z])[A-Za-z]:\\{{1,2}}{_PART}(?:\\{{1,2}}{_PART})*"


def find_local_paths(text: str, known: Sequence[str] = ()) -> list[str]:
    """Returns the local paths in a text, in order, each once: absolute ones, and those of a home folder.

    known: further paths, which may hold spaces. Addresses of the web and "a/b" are no local paths.
    """
    places = [found.span() for found in _pattern().finditer(text)]
    places += [found.span() for path in known for found in _known_pattern(path).finditer(text)]
    return list(dict.fromkeys(text[start:end].rstrip(".") for start, end in _joined(places)))


def without_local_paths(text: str, known: Sequence[str] = ()) -> str:
    """Returns the text with the last part of every local path in its place, e.g. "pets" for a long one to pets/."""
    for path in sorted(known, key=len, reverse=True):
        text = _known_pattern(path).sub(_last_part(path).replace("\\", r"\\"), text)
    return _pattern().sub(lambda found: _last_part(found[0]), text)


def is_local_path(text: str) -> bool:
    """Tells whether a text is one local path and nothing else."""
    return _pattern().fullmatch(text) is not None


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    roots = {*_USUAL_ROOTS.split(), *(path.name for path in Path("/").iterdir())}
    names = "|".join(re.escape(name) for name in sorted(roots, key=len, reverse=True) if name)
    absolute = rf"(?<![\w/:.~-])(?:file://)?/(?:{names})(?:/{_PART})+/?"
    return re.compile(f"{absolute}|(?<![\\w~]){_HOME_FOLDER}|{_WINDOWS}")


def _known_pattern(path: str) -> re.Pattern[str]:
    """Returns a pattern of a path that is no part of a longer word: "/data" is not in "resources/data"."""
    return re.compile(rf"(?<![\w.~-]){re.escape(path)}(?![\w-])")


def _joined(places: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yields spans in order, without those that lie within another one."""
    end_before = -1
    for start, end in sorted(places, key=lambda place: (place[0], -place[1])):
        if end > end_before:
            yield start, end
            end_before = end


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
