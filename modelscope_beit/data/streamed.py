"""Labelled pictures of unknown number, which can only be read one after another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from modelscope_beit.data.class_names import class_label_names, known_names, match_names
from modelscope_beit.data.columns import find_columns
from modelscope_beit.data.labels import read_labels
from modelscope_beit.data.pictures import picture_and_name
from modelscope_beit.data.records import Record
from modelscope_beit.errors import SettingsError

# As the package datasets has it: so many rows are held, and the next one is drawn from among them.
SHUFFLE_BUFFER_ROWS = 1000

Rows = Iterator[Mapping[str, Any]]


class StreamedRecords:
    """Labelled pictures in a stream.

    open_rows: begins a pass over all rows; given a seed, in an order drawn by it.
    image, label: the columns. class_names: the K names in the data's own order.
    """

    def __init__(
        self,
        open_rows: Callable[[int | None], Rows],
        columns: tuple[str, str],
        class_names: Sequence[str],
        *,
        is_multi_label: bool,
        description: str,
        data_prefix: str = "",
    ) -> None:
        self.class_names = tuple(class_names)
        self.is_multi_label = is_multi_label
        self.description = description
        self.notes: tuple[str, ...] = ("streamed: labels and pictures are checked as they come",)
        self._open_rows = open_rows
        self._columns = columns
        self._data_prefix = data_prefix
        self._own_names = self.class_names
        self._partners = np.arange(len(self.class_names))

    def relabelled(self, class_names: Sequence[str]) -> "StreamedRecords":
        """Returns the same stream with labels that count along `class_names`; classes are matched by name.

        A row of a class that has no partner is an error when it comes.
        """
        stream = StreamedRecords(
            self._open_rows,
            self._columns,
            class_names,
            is_multi_label=self.is_multi_label,
            description=self.description,
            data_prefix=self._data_prefix,
        )
        stream._own_names = self._own_names
        stream._partners = match_names(self._own_names, class_names)
        return stream

    def records(self, *, seed: int | None = None) -> Iterator[Record]:
        """Yields all records once.

        seed: None: in the stream's own order; otherwise in one drawn by it through a buffer of SHUFFLE_BUFFER_ROWS.
        Raises SettingsError at a label that no class has, ImageError at a row without a picture.
        """
        known: dict[str, int | tuple[int, ...]] = {}
        for row, values in enumerate(self._open_rows(seed)):
            image, name = picture_and_name(values.get(self._columns[0]), row, self._data_prefix)
            value = values.get(self._columns[1])
            if not isinstance(value, str):
                label = value if type(value) is int else self._number_of(value, name)
            elif value in known:
                label = known[value]
            else:
                label = known[value] = self._number_of(value, name)
            yield Record(image, self._partner_of(label, name), name)

    def _number_of(self, value: Any, name: str) -> int | tuple[int, ...]:
        """The numbers of a label among the data's own classes."""
        known = known_names(None, self._own_names)
        labels = read_labels([value], known, source=self.description, place=lambda row: name)
        if labels.notes:  # None of the names is known, so read_labels has taken the label itself for one.
            raise SettingsError(f"{self.description}: {name} has {value!r}, which is none of {self._own_names[:10]}.")
        if labels.values.ndim == 2:
            return tuple(np.flatnonzero(labels.values[0]).tolist())
        return int(labels.values[0])

    def _partner_of(self, label: int | tuple[int, ...], name: str) -> int | tuple[int, ...]:
        numbers = label if isinstance(label, tuple) else (label,)
        partners = tuple(int(self._partners[n]) if 0 <= n < len(self._partners) else -1 for n in numbers)
        if isinstance(label, tuple) != self.is_multi_label or -1 in partners:
            raise SettingsError(
                f"{self.description}: {name} has the label {label}, but {len(self._own_names)} classes from 0 on are "
                f"expected, all of them among {', '.join(map(repr, self.class_names[:10]))}."
            )
        return partners if isinstance(label, tuple) else partners[0]


def read_stream(dataset: Any, *, class_names: Sequence[str] | None, data_prefix: str) -> StreamedRecords:
    """Returns the records of a datasets.IterableDataset, ModelScope's streamed data set, or a torch IterableDataset.

    The first row is read, to learn the columns. Raises SettingsError if there is none, or if nothing tells the class
    names: a ClassLabel, a classname.txt near the first file, or class_names.
    """
    # Loading datasets takes a second, which folders and files of annotations do not need.
    import datasets

    source = f"the streamed {type(dataset).__name__}"
    features = getattr(dataset, "features", None) or {}
    is_plain = type(dataset).__iter__ is datasets.IterableDataset.__iter__
    if is_plain:
        dataset = _undecoded(dataset)

    def open_rows(seed: int | None) -> Rows:
        if seed is None:
            return _single_rows(dataset)
        if is_plain:
            return iter(dataset.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER_ROWS))
        return _shuffled(_single_rows(dataset), np.random.default_rng(seed))

    first = next(_single_rows(dataset), None)
    if first is None:
        raise SettingsError(f"{source}: at least one row is expected.")
    image, label = find_columns(first.keys(), source)
    picture, _ = picture_and_name(first[image], 0, data_prefix)
    own_names = class_label_names(features.get(label))
    known = known_names(picture if isinstance(picture, str) else None, class_names)
    if own_names is not None:
        known.insert(0, own_names)
    if not known:
        raise SettingsError(
            f"{source}: the class names are expected, since a stream cannot be looked through for them; set "
            "dataset.classes in the configuration, or give the column a ClassLabel."
        )
    return StreamedRecords(
        open_rows,
        (image, label),
        known[0].names,
        is_multi_label=isinstance(first[label], list | tuple | np.ndarray),
        description=source,
        data_prefix=data_prefix,
    )


def _undecoded(dataset: Any) -> Any:
    """The stream with pictures as bytes or paths, so that threads decode them."""
    import datasets

    for name, feature in (dataset.features or {}).items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    return dataset


def _single_rows(dataset: Any) -> Rows:
    """Rows one by one: pairs become mappings, and the batches of ModelScope's streams are taken apart."""
    for row in dataset:
        if not isinstance(row, Mapping):
            row = dict(zip(("image", "label"), row, strict=False))
        lengths = {len(value) if isinstance(value, list) else -1 for value in row.values()}
        files = [value for name, value in row.items() if name.endswith(":FILE") and isinstance(value, list)]
        if files and lengths == {len(files[0])}:
            for number in range(len(files[0])):
                yield {name: value[number] for name, value in row.items()}
        else:
            yield row


def _shuffled(rows: Rows, rng: np.random.Generator) -> Rows:
    buffer = list(islice(rows, SHUFFLE_BUFFER_ROWS))
    for row in rows:
        place = int(rng.integers(len(buffer)))
        buffer[place], row = row, buffer[place]
        yield row
    for place in rng.permutation(len(buffer)).tolist():
        yield buffer[place]
