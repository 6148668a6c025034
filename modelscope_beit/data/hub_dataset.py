"""MsDataset, datasets.Dataset, streams, torch data sets and lists of rows -> records.

ModelScope's own classes are taken apart by their attributes and not imported; its `data_prefix` and its columns
"image:FILE" and "category" are understood. Source of the contract: ModelScope's MmDataset and MsDataset.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow
from torch.utils.data import IterableDataset as TorchIterableDataset

from modelscope_beit.data.class_names import class_label_names
from modelscope_beit.data.columns import find_columns
from modelscope_beit.data.labelling import label_pictures
from modelscope_beit.data.pictures import picture_and_name
from modelscope_beit.data.records import Records
from modelscope_beit.data.streamed import StreamedRecords, read_stream
from modelscope_beit.data.torch_dataset import read_torch_dataset
from modelscope_beit.errors import SettingsError

_ROWS_AT_ONCE = 1000


def records_of(
    dataset: Any, *, class_names: Sequence[str] | None = None, data_prefix: str = ""
) -> Records | StreamedRecords:
    """Returns the records of a data set that a script has loaded.

    dataset: an MsDataset or a datasets.Dataset, streamed or not; a torch Dataset; a list of rows. Rows have the columns
        "image:FILE" and "category", or "image" and "label" and what else data.columns knows, or are pairs.
    class_names: what the configuration calls the classes; names in the data or in a classname.txt near them come first.
    data_prefix: the folder of relative paths.
    Raises SettingsError if it is none of these or has no such columns, and for labels that cannot be used.
    """
    # Loading datasets takes a second, which folders and files of annotations do not need.
    import datasets

    if isinstance(dataset, Records | StreamedRecords):
        return dataset
    dataset = getattr(dataset, "ds_instance", dataset)
    if isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom":
        return _records_of_table(dataset, class_names, data_prefix)
    if isinstance(dataset, datasets.IterableDataset | TorchIterableDataset):
        return read_stream(dataset, class_names=class_names, data_prefix=data_prefix)
    if isinstance(dataset, Mapping):
        raise SettingsError(
            f"One part of the data is expected, but a {type(dataset).__name__} of {list(dataset)} came; "
            f"give one of its parts, such as data[{next(iter(dataset), 'train')!r}]."
        )
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, str | bytes):
        raise SettingsError(
            "An MsDataset, a datasets.Dataset, a torch Dataset with a length, or a list of rows is expected, but a "
            f"{type(dataset).__name__} came{_advice(dataset)}."
        )
    return read_torch_dataset(dataset, class_names=class_names, data_prefix=data_prefix)


def _advice(dataset: Any) -> str:
    return f"; load {dataset!r:.80} with MsDataset.load, or with modelscope_beit.data.sources.open_data" * isinstance(
        dataset, str
    )


class _TablePictures:
    """Pictures in one column of a datasets.Dataset, not decoded."""

    def __init__(self, dataset: Any, column: str, data_prefix: str) -> None:
        self._dataset = dataset.select_columns([column])
        self._column = column
        self._data_prefix = data_prefix

    def read(self, row: int) -> tuple[Any, str]:
        """Returns the path or the file's bytes, and the path or the row as its name."""
        return picture_and_name(self._dataset[row][self._column], row, self._data_prefix)

    def files(self) -> list[str] | None:
        """Returns all paths, made anew by each call; None as soon as a picture is no file."""
        paths = []
        for start in range(0, len(self._dataset), _ROWS_AT_ONCE):
            for number, value in enumerate(self._dataset[start : start + _ROWS_AT_ONCE][self._column], start):
                picture, _ = picture_and_name(value, number, self._data_prefix)
                if not isinstance(picture, str):
                    return None
                paths.append(picture)
        return paths


def _records_of_table(dataset: Any, class_names: Sequence[str] | None, data_prefix: str) -> Records:
    import datasets

    source = f"the data set of {len(dataset)} rows"
    image, label = find_columns(dataset.column_names, source)
    if not len(dataset):
        raise SettingsError(f"{source}: at least one row is expected.")
    plain = dataset.with_format(None)
    if isinstance(dataset.features[image], datasets.Image):
        plain = plain.cast_column(image, datasets.Image(decode=False))
    pictures = _TablePictures(plain, image, data_prefix)
    first, _ = pictures.read(0)
    return label_pictures(
        pictures,
        _column(dataset, label),
        own_names=class_label_names(dataset.features[label]),
        class_names=class_names,
        near=first if isinstance(first, str) else None,
        description=source,
    )


def _column(dataset: Any, name: str) -> np.ndarray | list[Any]:
    """The values of a column, without touching the others."""
    column: pyarrow.ChunkedArray = dataset.select_columns([name]).with_format("arrow")[:][name]
    if pyarrow.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy()
    return column.to_pylist()
