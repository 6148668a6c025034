"""Numbered, labelled pictures: what every kind of data becomes before anything is trained or measured on it.

A picture is read when its row is asked for and not before; the labels, one number a row, are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelscope_beit.data.class_names import match_names
from modelscope_beit.data.pictures import Pictures
from modelscope_beit.data.wording import some_of
from modelscope_beit.errors import SettingsError

# Labels out of range of which a message tells the first picture.
_TOLD = 5


@dataclass(frozen=True)
class Record:
    """One row.

    image: whatever images.reading.read_image reads, not decoded where that can be helped.
    label: the number of the class; of multi-label data the numbers of all its classes, ascending.
    name: what a message, a table or a report calls the row: the path, or "#7" for the eighth row.
    """

    image: Any
    label: int | tuple[int, ...]
    name: str


class Records:
    """Labelled pictures, in a fixed order.

    labels: (N,) numbers of classes; of multi-label data (N, K) true or false. Numbers that no class has are kept:
        data.checks tells them all at once.
    class_names: the K names; label k is the class class_names[k].
    description: what the data are and where they come from, for tables, e.g. "the folder pets/train".
    rows: the rows of `pictures` that belong to the records; None: all of them.
    notes: sentences on what was passed over, or could be misunderstood, while the data were opened.
    """

    def __init__(
        self,
        pictures: Pictures,
        labels: np.ndarray,
        class_names: Sequence[str],
        *,
        description: str,
        rows: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        assert labels.dtype == bool if labels.ndim == 2 else labels.dtype == np.int64, labels.dtype
        assert rows is None or len(rows) == len(labels), "one row for each label"
        self.class_names = tuple(class_names)
        self.description = description
        self.notes = tuple(notes)
        self._pictures = pictures
        self._labels = labels
        self._rows = rows

    @property
    def is_multi_label(self) -> bool:
        """Whether a picture may have several classes, or none."""
        return self._labels.ndim == 2

    def labels(self) -> np.ndarray:
        """Returns (N,) int64, or (N, K) bool of multi-label data, without reading a picture."""
        return self._labels

    def files(self) -> Sequence[str] | None:
        """Returns the path of every picture, or None if the pictures are no files."""
        paths = self._pictures.files()
        return paths if paths is None or self._rows is None else [paths[row] for row in self._rows]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, number: int) -> Record:
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        number %= len(self)
        image, name = self._pictures.read(number if self._rows is None else int(self._rows[number]))
        label = self._labels[number]
        return Record(image, tuple(np.flatnonzero(label).tolist()) if self.is_multi_label else int(label), name)

    def select(self, numbers: np.ndarray, description: str) -> "Records":
        """Returns the records of these numbers, in their order, without reading a picture."""
        rows = numbers if self._rows is None else self._rows[numbers]
        return Records(self._pictures, self._labels[numbers], self.class_names, description=description, rows=rows)

    def relabelled(self, class_names: Sequence[str]) -> "Records":
        """Returns the same pictures with labels that count along `class_names`, such as those of a trained network.

        Classes are matched by name, see class_names.match_names; only classes that have a picture need a partner.
        Raises SettingsError naming the classes that have none, or labels that no class has.
        """
        if tuple(class_names) == self.class_names:
            return self
        if problem := self.label_problem():
            raise SettingsError(problem)
        used = np.flatnonzero(self.class_counts())
        partners = np.full(len(self.class_names), -1, np.int64)
        partners[used] = match_names([self.class_names[number] for number in used], class_names)
        if lost := [self.class_names[number] for number in used if partners[number] < 0]:
            raise SettingsError(
                f"{self.description}: {len(lost)} of its classes are none of the {len(class_names)} expected ones: "
                f"{some_of(lost)}; expected are {some_of(class_names)}. Classes are matched by their names."
            )
        labels = partners[self._labels] if not self.is_multi_label else np.zeros((len(self), len(class_names)), bool)
        if self.is_multi_label:
            labels[:, partners[used]] = self._labels[:, used]
        return Records(
            self._pictures, labels, class_names, description=self.description, rows=self._rows, notes=self.notes
        )

    def class_counts(self) -> np.ndarray:
        """Returns (K,) int64: how many pictures each class has. Labels that no class has are not counted."""
        if self.is_multi_label:
            return self._labels.sum(axis=0, dtype=np.int64)
        valid = self._labels[(self._labels >= 0) & (self._labels < len(self.class_names))]
        return np.bincount(valid, minlength=len(self.class_names)).astype(np.int64)

    def label_problem(self) -> str | None:
        """Returns a sentence about all labels outside 0 .. K-1, with counts and the first picture of each, or None."""
        if self.is_multi_label:
            return None
        outside = np.flatnonzero((self._labels < 0) | (self._labels >= len(self.class_names)))
        if not len(outside):
            return None
        values, firsts, counts = np.unique(self._labels[outside], return_index=True, return_counts=True)
        told = [
            f"label {value} ({count} pictures, the first is {self[int(outside[first])].name})"
            for value, first, count in zip(values[:_TOLD], firsts, counts, strict=False)
        ]
        more = f" and {len(values) - _TOLD} other labels" if len(values) > _TOLD else ""
        return (
            f"{self.description}: labels from 0 to {len(self.class_names) - 1} are expected, since there are "
            f"{len(self.class_names)} class names, but it has {', '.join(told)}{more}."
        )
