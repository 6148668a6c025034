"""From what a person names (files, folders, URLs, a list on standard input) to one picture after another.

Lazy: at any time only the names in one folder and in the folders above it are held, as bytes, so that a million files
in one folder take the length of their names (tens of megabytes), and in many folders no more than one of those.
"""

import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from modelscope_beit.errors import ImageError
from modelscope_beit.images.downloading import is_url
from modelscope_beit.names import PICTURE_SUFFIXES

STANDARD_INPUT = "-"

_NAMES_PER_RUN = 1 << 14  # That many are sorted at a time; a name is five times as large then.
_FOLDER = "\0"  # Ends the name of a folder: no name has it, and nothing sorts between a name and itself with it.


def expand_sources(named: Sequence[str], listed: Iterable[str] = ()) -> Iterator[str]:
    """Returns an iterator over the paths and URLs of all pictures, in the order in which they were named.

    named: files (any suffix), folders (searched in depth, ordered by name; hidden entries are passed over and
        files are chosen by their suffix), URLs, and "-" for the list.
    listed: lines of the list, one path, folder or URL each; empty lines are passed over. Read lazily.
    Raises ImageError at once, before anything is read, naming every path that does not exist and every folder
    without a picture. A line of the list that names nothing is passed on: it fails when it is read.
    """
    problems = [problem for name in dict.fromkeys(named) if (problem := _problem(name))]
    if problems:
        raise ImageError("These pictures cannot be found: " + "; ".join(problems) + ".")
    return _expand(named, listed)


def printable(text: str) -> str:
    """Returns a name or message with escapes for bytes that are not UTF-8: Linux has them in names, no table does."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _problem(name: str) -> str | None:
    """What is wrong with a name from the command line, or None."""
    if name == STANDARD_INPUT or is_url(name):
        return None
    if not os.path.exists(name):
        return f"{name or 'the empty name'} does not exist"
    if os.path.isdir(name):
        if not os.access(name, os.R_OK | os.X_OK):
            return f"the folder {name} may not be read"
        if next(_pictures_in(name, frozenset(), order=iter), None) is None:
            suffixes = " ".join(sorted(PICTURE_SUFFIXES))
            return f"the folder {name} and the folders in it have no picture ({suffixes})"
    return None


def _expand(named: Iterable[str], listed: Iterable[str]) -> Iterator[str]:
    for name in named:
        if name == STANDARD_INPUT:
            for line in listed:
                if line.strip():
                    yield from _pictures_of(line.rstrip("\r\n"))
        else:
            yield from _pictures_of(name)


def _pictures_of(name: str) -> Iterator[str]:
    """Pictures of one file, URL or folder; a folder without any is passed on, so that it gets a row."""
    if is_url(name) or not os.path.isdir(name):
        yield name
        return
    is_empty = True
    for path in _pictures_in(name, frozenset()):
        is_empty = False
        yield path
    if is_empty:
        yield name


def _pictures_in(
    folder: str, above: frozenset[tuple[int, int]], order: Callable[[Iterable[str]], Iterator[str]] | None = None
) -> Iterator[str]:
    """Pictures of a folder, ordered by the parts of their paths.

    above: device and inode of the folders on the way here. Links to folders are followed, since data sets are
    often put together from them, but not back into a folder above.
    order: another order of the names in each folder.
    """
    try:
        status = os.stat(folder)
        names = (order or _in_order)(_pictures_and_folders(folder))
        first = next(names, None)
    except OSError:
        yield folder  # Reading it as a picture fails, and so it gets a row that says why.
        return
    here = (status.st_dev, status.st_ino)
    if here in above or first is None:
        return
    for name in chain((first,), names):
        path = os.path.join(folder, name.removesuffix(_FOLDER))
        if name.endswith(_FOLDER):
            yield from _pictures_in(path, above | {here}, order)
        else:
            yield path


def _pictures_and_folders(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield entry.name + _FOLDER
            elif os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES:
                yield entry.name


def _in_order(names: Iterable[str]) -> Iterator[str]:
    """The names, sorted. All are taken at once, but held as bytes: a str takes 50 bytes more than its text."""
    names = iter(names)
    runs = []
    while run := sorted(islice(names, _NAMES_PER_RUN)):
        runs.append(os.fsencode("/".join(run)))  # The one letter that no name has.
    return heapq.merge(*map(_names_of, runs))


def _names_of(run: bytes) -> Iterator[str]:
    start = 0
    while start <= len(run):
        end = run.find(b"/", start)
        end = len(run) if end < 0 else end
        yield os.fsdecode(run[start:end])
        start = end + 1
