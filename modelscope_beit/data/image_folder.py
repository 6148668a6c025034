"""A folder of class folders -> its pictures and their labels. The layouts of ImageNet, garbage265 and imagefolder."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from modelscope_beit.data.class_names import in_natural_order, known_names
from modelscope_beit.data.labels import read_labels
from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.errors import SettingsError
from modelscope_beit.names import PICTURE_SUFFIXES


def read_image_folder(folder: Path, *, class_names: Sequence[str] | None = None) -> Records:
    """Returns the pictures of a folder whose subfolders are the classes.

    Pictures are found in any depth below a class's folder, in the order of their names; hidden files and folders are
    passed over, files with suffixes of no picture are counted. Class names come from a classname.txt in the folder or
    the one above, else from `class_names`, else from the folders, empty ones too; folders are matched with a list by
    name, or by number where they are called 0, 1, 2.
    Raises SettingsError if there are no class folders, no pictures, or if names match for a part of the folders only.
    """
    folders = in_natural_order(entry.name for entry in _visible(folder) if entry.is_dir())
    passed_over: Counter[str] = Counter()
    pictures = {name: _pictures_below(folder / name, passed_over) for name in folders}
    occupied = [name for name in folders if pictures[name]]
    if not occupied:
        raise SettingsError(
            f"{folder}: folders named after the classes, with pictures in them, are expected, but it has "
            f"{_found(folder, folders)}. Pictures end in {' '.join(sorted(PICTURE_SUFFIXES))}."
        )
    known = known_names(folder / occupied[0] / "picture", class_names)
    # Without lists of names an empty folder still names a class.
    labels = read_labels(occupied if known else folders, known, source=str(folder), place=lambda row: "a class folder")
    numbers = dict(zip(occupied if known else folders, labels.values.tolist(), strict=True))
    values = np.repeat([numbers[name] for name in occupied], [len(pictures[name]) for name in occupied])
    paths = [path for name in occupied for path in pictures[name]]
    notes = (*labels.notes, *_passed_over(folder, passed_over))
    return Records(FilePictures(paths), values, labels.class_names, description=f"the folder {folder}", notes=notes)


def _pictures_below(folder: Path, passed_over: Counter[str]) -> list[str]:
    """Returns the paths of the pictures in any depth; counts the suffixes of the other files."""
    pictures = []
    for path in _files_below(str(folder), frozenset()):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in PICTURE_SUFFIXES:
            pictures.append(path)
        else:
            passed_over[suffix or "without suffix"] += 1
    return pictures


def _files_below(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Files in depth, ordered by name. above: device and inode of the folders on the way, against links in a circle."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in sorted(_visible(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files_below(entry.path, above | {here})
        else:
            yield entry.path


def _visible(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _passed_over(folder: Path, suffixes: Counter[str]) -> list[str]:
    notes = []
    if suffixes:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
        notes.append(f"{folder}: {suffixes.total()} files that are no pictures were passed over ({kinds})")
    files = sorted(entry.name for entry in _visible(folder) if entry.is_file())
    loose = [name for name in files if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES]
    if loose:
        notes.append(f"{folder}: {len(loose)} pictures in no class folder were passed over ({loose[0]} ...)")
    return notes


def _found(folder: Path, folders: list[str]) -> str:
    files = [entry.name for entry in _visible(folder) if entry.is_file()]
    shown = ", ".join([f"{name}/" for name in folders[:5]] + sorted(files)[:5])
    return f"{len(folders)} folders and {len(files)} files ({shown})" if shown else "nothing in it"
