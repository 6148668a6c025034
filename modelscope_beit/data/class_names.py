"""Class names: where they are found, and how the names of two lists are matched."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_beit.names import CLASS_NAMES_FILE
from modelscope_beit.settings.class_file import read_class_file

# The class's folder, the split's folder, the data set's folder: classname.txt is looked for no further up.
_FOLDERS_UP = 3


@dataclass(frozen=True)
class KnownNames:
    """A list of class names and, for messages, where it stands."""

    names: tuple[str, ...]
    where: str

    def __str__(self) -> str:
        return self.where


def known_names(picture: str | Path | None, given: Sequence[str] | None) -> list[KnownNames]:
    """Returns the lists of names that data without a ClassLabel have, the most trusted first.

    picture: a picture file; a classname.txt near it comes first. given: the names that the caller has, if any.
    """
    class_file = None if picture is None else find_class_file(picture)
    known = [] if class_file is None else [KnownNames(read_class_file(class_file), str(class_file))]
    return [*known, KnownNames(tuple(given), "the class names given")] if given else known


def class_label_names(feature: Any) -> KnownNames | None:
    """Returns the names of a ClassLabel, or of a list of them; None if the column has none."""
    if isinstance(feature, list):
        feature = feature[0]
    feature = getattr(feature, "feature", feature)
    names = getattr(feature, "names", None)
    return KnownNames(tuple(names), "the column's ClassLabel") if names else None


def find_class_file(picture: str | Path) -> Path | None:
    """Returns the classname.txt that belongs to a picture file, or None.

    It is looked for in the picture's folder and in the folders above: up to extracted/<hash> where ModelScope has
    unpacked the data, otherwise three folders in all.
    """
    folders = list(Path(picture).parents)
    names = [folder.name for folder in folders]
    # ModelScope's <...>/extracted/<hash>/<top folder>/...
    up = names.index("extracted") if "extracted" in names else _FOLDERS_UP
    for folder in folders[:up]:
        if (folder / CLASS_NAMES_FILE).is_file():
            return folder / CLASS_NAMES_FILE
    return None


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Returns the names sorted; by their value if all of them are whole numbers ("2" before "10")."""
    distinct = list(names)
    return sorted(distinct, key=int) if all(map(_is_number, distinct)) else sorted(distinct)


def match_names(names: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Returns (len(names),) int64: the place of each name in class_names, or -1.

    By name; of equal names (ImageNet has two cranes) the first is matched with the first. If no name is found and all
    are whole numbers, as garbage265 and ImageNet-V2 call their folders, they are places in class_names; if all are
    WordNet ids and class_names are those of ImageNet-1k, they are ImageNet's ids.
    """
    partners = _match_exactly(names, class_names)
    if (partners >= 0).any() or not names:
        return partners
    if all(map(_is_number, names)):
        places = [int(name) for name in names]
        return np.array([place if place < len(class_names) else -1 for place in places], np.int64)
    if all(re.fullmatch(r"n\d{8}", name) for name in names) and tuple(class_names) == _packaged("imagenet_1k.txt"):
        return _match_exactly(names, _packaged("imagenet_1k_wordnet_ids.txt"))
    return partners


def _match_exactly(names: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(class_names):
        places[name].append(place)
    met: dict[str, int] = defaultdict(int)
    partners = np.full(len(names), -1, np.int64)
    for number, name in enumerate(names):
        if met[name] < len(places.get(name, ())):
            partners[number] = places[name][met[name]]
            met[name] += 1
    return partners


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _packaged(name: str) -> tuple[str, ...]:
    return tuple((resources.files("modelscope_beit") / "labels" / name).read_text(encoding="utf-8").splitlines())
