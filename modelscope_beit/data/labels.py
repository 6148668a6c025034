"""The labels of any kind of data -> one number a row and the names of the classes."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelscope_beit.data.class_names import KnownNames, in_natural_order, match_names
from modelscope_beit.data.wording import some_mistakes
from modelscope_beit.errors import SettingsError

# Numbers without names are taken for places in a list of names; with more gaps than this they are something else.
_MAX_UNUSED_NUMBERS = 1000


@dataclass(frozen=True)
class Labels:
    """Labels as numbers.

    values: (N,) int64, or (N, K) bool of multi-label data. class_names: K names.
    notes: sentences on names that were offered and are not used.
    """

    values: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_labels(
    values: Sequence[Any] | np.ndarray,
    known: Sequence[KnownNames] = (),
    *,
    source: str,
    place: Callable[[int], str] = "row {}".format,
) -> Labels:
    """Returns the labels as numbers.

    values: of each row a whole number, which is a place among the class names; a name, matched as
        class_names.match_names does; or, of multi-label data, a list of either, or of K zeros and ones.
    known: lists of class names, the most trusted first. Numbers are places in the first; names choose the first that
        has any of them. Where that fails, the class names are those that occur, in natural order.
    source: what the labels belong to, for messages. place: what a message calls row n, e.g. "line 7".
    Raises SettingsError that tells all rows whose label cannot be used. Numbers that no class has are kept.
    """
    if not (isinstance(values, np.ndarray) and values.dtype.kind in "iu" and values.ndim == 1):
        values = [_plain(value) for value in values]
    kinds = {int} if isinstance(values, np.ndarray) else {type(value) for value in values}
    if kinds == {list}:
        return _multi_label(list(values), known, source, place)
    if kinds - {int, str} or len(kinds) > 1:
        raise SettingsError(_mixed(values, source, place))
    return _numbered(values, known, source, place)


def _plain(value: Any) -> Any:
    """Returns an int, a str or a list of these, or the value itself if it is none of them."""
    if hasattr(value, "tolist"):  # numpy's and torch's numbers and arrays
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    if isinstance(value, bool) or isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _mixed(values: Sequence[Any] | np.ndarray, source: str, place: Callable[[int], str]) -> str:
    """What to say about labels that are not all of one kind; the rarer kinds are taken for the mistakes."""
    kinds = [type(value) for value in values]
    usable = [kind for kind in (int, str, list) if kind in kinds]
    common = max(usable, key=kinds.count, default=None)
    odd = [f"{place(row)} has {values[row]!r}" for row, kind in enumerate(kinds) if kind != common]
    called = {int: "whole numbers", str: "names", list: "lists of classes"}
    expected = f"{called[common]}, as most are" if common else "whole numbers, names, or lists of these"
    return f"{source}: the labels are expected to be {expected}, but {some_mistakes(odd)}."


def _numbered(
    values: Sequence[Any] | np.ndarray, known: Sequence[KnownNames], source: str, place: Callable[[int], str]
) -> Labels:
    """Labels that are all whole numbers or all names."""
    if isinstance(values, np.ndarray) or values and isinstance(values[0], int):
        numbers = np.asarray(values, np.int64)
        return Labels(numbers, known[0].names if known else _names_of_numbers(numbers, source))
    notes: list[str] = []
    distinct = list(dict.fromkeys(values))
    for candidate in known:
        numbers = match_names(distinct, candidate.names)
        if (numbers < 0).any() and (numbers >= 0).any():
            raise SettingsError(_unknown(values, set(np.array(distinct)[numbers < 0]), candidate, source, place))
        if (numbers >= 0).all():
            number_of = dict(zip(distinct, numbers.tolist(), strict=True))
            return Labels(np.array([number_of[value] for value in values], np.int64), candidate.names, tuple(notes))
        notes.append(f"{source}: no label ({distinct[0]!r} ...) is in {candidate} ({candidate.names[0]!r} ...)")
    names = in_natural_order(distinct)
    number_of = {name: number for number, name in enumerate(names)}
    return Labels(np.array([number_of[value] for value in values], np.int64), tuple(names), tuple(notes))


def _names_of_numbers(numbers: np.ndarray, source: str) -> tuple[str, ...]:
    highest, distinct = int(numbers.max(initial=-1)), len(np.unique(numbers))
    if highest >= 2 * distinct + _MAX_UNUSED_NUMBERS:
        raise SettingsError(
            f"{source}: its {distinct} different labels are numbers up to {highest}, so they are no places in a list "
            "of class names; give the names of the classes, or use labels from 0 on."
        )
    return tuple(map(str, range(highest + 1)))


def _unknown(
    values: Sequence[str], unknown: set[str], candidate: KnownNames, source: str, place: Callable[[int], str]
) -> str:
    rows = {value: row for row, value in reversed(list(enumerate(values))) if value in unknown}
    told = [f"{place(row)} has {value!r}{_hint(value, candidate.names)}" for value, row in reversed(rows.items())]
    return (
        f"{source}: every label is expected to be one of the {len(candidate.names)} names in {candidate}, but "
        f"{some_mistakes(told)}."
    )


def _multi_label(
    rows: list[list[Any]], known: Sequence[KnownNames], source: str, place: Callable[[int], str]
) -> Labels:
    parts = [part for row in rows for part in row]
    owners = [number for number, row in enumerate(rows) for _ in row]
    kinds = {type(part) for part in parts}
    if kinds - {int, str} or len(kinds) > 1:
        raise SettingsError(_mixed(parts, source, lambda number: place(owners[number])))
    if kinds == {int} and _are_marks(rows):
        return _marked(np.array(rows, bool), known, source)
    labels = _numbered(parts, known, source, lambda number: place(owners[number]))
    count = len(labels.class_names)
    outside = [f"{place(owners[row])} has {parts[row]}" for row in np.flatnonzero(labels.values >= count)]
    outside += [f"{place(owners[row])} has {parts[row]}" for row in np.flatnonzero(labels.values < 0)]
    if outside:
        raise SettingsError(f"{source}: labels from 0 to {count - 1} are expected, but {some_mistakes(outside)}.")
    values = np.zeros((len(rows), count), bool)
    values[owners, labels.values] = True
    return Labels(values, labels.class_names, labels.notes)


def _are_marks(rows: list[list[int]]) -> bool:
    """Whether lists are zeros and ones for all classes: equally long, and no list of different class numbers."""
    lengths = {len(row) for row in rows}
    return len(lengths) == 1 and all(set(row) <= {0, 1} for row in rows) and any(len(set(r)) < len(r) for r in rows)


def _marked(marks: np.ndarray, known: Sequence[KnownNames], source: str) -> Labels:
    names = known[0].names if known else tuple(map(str, range(marks.shape[1])))
    if marks.shape[1] != len(names):
        raise SettingsError(
            f"{source}: each label marks {marks.shape[1]} classes with 0 or 1, but {known[0]} has {len(names)} names."
        )
    return Labels(marks, names)


def _hint(label: str, class_names: tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(label, class_names[:2000], n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
