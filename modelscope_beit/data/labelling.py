"""Pictures and the labels of their rows, of any kind -> records with the best class names to be found."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelscope_beit.data.class_names import KnownNames, known_names
from modelscope_beit.data.labels import read_labels
from modelscope_beit.data.pictures import Pictures
from modelscope_beit.data.records import Records


def label_pictures(
    pictures: Pictures,
    values: Sequence[Any] | np.ndarray,
    *,
    description: str,
    own_names: KnownNames | None = None,
    class_names: Sequence[str] | None = None,
    near: str | None = None,
    place: Callable[[int], str] = "row {}".format,
) -> Records:
    """Returns the records.

    values: the labels as data.labels.read_labels takes them.
    own_names: what the data themselves call the classes, such as a ClassLabel; they come before a classname.txt near
        the picture file `near`, which comes before class_names, which come before the names of the pictures' folders.
    Raises SettingsError for labels that cannot be used.
    """
    known = known_names(near, class_names)
    if own_names is not None:
        known.insert(0, own_names)
    labels = read_labels(values, known, source=description, place=place)
    names = labels.class_names
    if not known and labels.values.ndim == 1 and (paths := pictures.files()) is not None and not _has_names(values):
        names = _names_of_folders(paths, labels.values) or names
    return Records(pictures, labels.values, names, description=description, notes=labels.notes)


def _has_names(values: Sequence[Any] | np.ndarray) -> bool:
    return len(values) > 0 and isinstance(values[0], str)


def _names_of_folders(paths: Sequence[str], labels: np.ndarray) -> tuple[str, ...] | None:
    """The names of the pictures' folders, if each class has one folder of its own; otherwise None."""
    folders: dict[int, str] = {}
    for path, label in zip(paths, labels.tolist(), strict=True):
        folder = os.path.dirname(path)
        if folders.setdefault(label, folder) != folder:
            return None
    names = [os.path.basename(folders[label]) for label in sorted(folders)]
    is_complete = sorted(folders) == list(range(len(folders)))
    return tuple(names) if is_complete and len(set(names)) == len(names) and all(names) else None
