"""A torch Dataset, a torchvision data set, or a list of rows -> records.

Rows are (picture, label) or mappings with the columns that data.columns knows.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Subset

from modelscope_beit.data.class_names import KnownNames
from modelscope_beit.data.columns import find_columns
from modelscope_beit.data.labelling import label_pictures
from modelscope_beit.data.pictures import FilePictures, Pictures, RowPictures, picture_and_name
from modelscope_beit.data.records import Records
from modelscope_beit.errors import SettingsError

logger = logging.getLogger(__name__)


def read_torch_dataset(dataset: Any, *, class_names: Sequence[str] | None, data_prefix: str) -> Records:
    """Returns the records of whatever has a length and rows by number.

    Labels and class names are taken from the attributes `targets` and `classes` that torchvision's data sets have;
    without them each row is read once, which takes as long as decoding all pictures. A torchvision folder is read by
    its paths, without its own transform.
    Raises SettingsError if there are no rows, or if they are neither pairs nor mappings.
    """
    if isinstance(dataset, Subset):
        whole = read_torch_dataset(dataset.dataset, class_names=class_names, data_prefix=data_prefix)
        return whole.select(np.asarray(dataset.indices, np.int64), f"{whole.description}, {len(dataset)} of its rows")
    source = f"the {type(dataset).__name__} of {len(dataset)} rows"
    if not len(dataset):
        raise SettingsError(f"{source}: at least one row is expected.")
    image, label = _places_of(dataset[0], source)
    pictures, values = _torchvision_parts(dataset)
    if values is None:
        values = _labels_of_rows(dataset, label, source)
    if pictures is None:
        pictures = _pictures_of_rows(dataset, image, data_prefix)
    own = getattr(dataset, "classes", None)
    files = pictures.files()
    return label_pictures(
        pictures,
        values,
        own_names=KnownNames(tuple(map(str, own)), "its attribute classes") if own else None,
        class_names=class_names,
        near=files[0] if files else None,
        description=source,
    )


def _places_of(row: Any, source: str) -> tuple[Any, Any]:
    """Returns the keys of the picture and the label in a row."""
    if isinstance(row, Mapping):
        return find_columns(row.keys(), source)
    if isinstance(row, list | tuple) and len(row) >= 2:
        return 0, 1
    raise SettingsError(
        f"{source}: rows like (picture, label) or {{'image': picture, 'label': label}} are expected, but row 0 is a "
        f"{type(row).__name__}."
    )


def _torchvision_parts(dataset: Any) -> tuple[Pictures | None, Sequence[Any] | None]:
    """Returns the pictures of a torchvision folder and the labels of any torchvision data set, else None for each."""
    targets, samples = getattr(dataset, "targets", None), getattr(dataset, "samples", None)
    if targets is None or len(targets) != len(dataset) or getattr(dataset, "target_transform", None) is not None:
        return None, None
    if isinstance(samples, list) and samples and isinstance(samples[0], tuple) and isinstance(samples[0][0], str):
        return FilePictures([path for path, *_ in samples]), targets
    return None, targets


def _labels_of_rows(dataset: Any, label: Any, source: str) -> list[Any]:
    if not isinstance(dataset, list | tuple):
        logger.info("Reading all rows of %s once for their labels; an attribute `targets` would spare it.", source)
    values = []
    for number in range(len(dataset)):
        try:
            values.append(dataset[number][label])
        except (KeyError, IndexError, TypeError) as error:
            raise SettingsError(f"{source}: row {number} has no {label!r}, as row 0 has ({error!r}).") from error
    return values


def _pictures_of_rows(dataset: Any, image: Any, data_prefix: str) -> Pictures:
    is_list = isinstance(dataset, list | tuple)
    if is_list and all(isinstance(row[image], str) for row in dataset):
        return FilePictures([picture_and_name(row[image], 0, data_prefix)[0] for row in dataset])
    return RowPictures(lambda row: dataset[row][image], data_prefix=data_prefix, one_at_a_time=not is_list)
