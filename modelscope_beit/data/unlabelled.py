"""Whatever a person calls their pictures -> records or a stream without labels, for pre-training.

Labels, where there are any, are passed over: a folder needs no class folders, a table no label column.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_beit.data.columns import IMAGE_COLUMNS, find_column
from modelscope_beit.data.pictures import FilePictures, RowPictures, picture_and_name
from modelscope_beit.data.records import Record, Records
from modelscope_beit.data.sources import TRAIN_PARTS
from modelscope_beit.data.streamed import SHUFFLE_BUFFER_ROWS
from modelscope_beit.errors import SettingsError
from modelscope_beit.names import PICTURE_SUFFIXES

NO_LABEL = -1

# Columns of webdataset shards are named after the suffixes of their files.
_SHARD_COLUMNS = (*IMAGE_COLUMNS, *sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))


class PictureStream:
    """Pictures without labels that can only be read one after another, pass after pass.

    open_rows: begins a pass; given a seed, in an order drawn by it. image: the column. part: whose part of the stream
    this is, as rank and number of processes; a whole one is (0, 1).
    """

    class_names: tuple[str, ...] = ()
    is_multi_label = False

    def __init__(
        self,
        open_rows: Callable[[int | None], Iterator[Mapping[str, Any]]],
        image: str,
        *,
        description: str,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.description = description
        self.part = part
        self._open_rows = open_rows
        self._image = image

    def records(self, *, seed: int | None = None) -> Iterator[Record]:
        """Yields the pictures: once, in their own order; or with a seed without end, each pass in an order of its own.

        Raises ImageError at a row without a picture, SettingsError if a pass has no row.
        """
        number = 0
        for turn in count():
            order = None if seed is None else int(np.random.default_rng((seed, turn)).integers(1 << 32))
            before = number
            for values in self._open_rows(order):
                image, name = picture_and_name(values.get(self._image), number)
                yield Record(image, NO_LABEL, name)
                number += 1
            if seed is None:
                return
            if number == before:
                raise SettingsError(f"{self.description}: at least one row is expected, but the stream is empty.")


def open_pictures(
    location: str | Path, *, stream: bool = False, rank: int = 0, world_size: int = 1
) -> Records | PictureStream:
    """Returns all pictures, for training where the data have parts.

    location: a folder with pictures in any depth; a folder of parquet files, or one such file; a folder of tar files
        (webdataset), or one such file, which are always streamed; or the id of a data set on the Hugging Face hub.
    stream: read tables one row after another, without a copy on the disk. rank, world_size: of a stream only the part
        of one of so many processes is given: whole shards where they can be divided evenly, else every n-th row.
    Raises SettingsError naming what was found if it is none of these. Existing paths never touch the network.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        if shards := sorted(map(str, path.glob("**/*.tar"))):
            return _opened("webdataset", str(path), shards, (rank, world_size))
        if tables := sorted(map(str, path.glob("**/*.parquet"))):
            return _opened("parquet", str(path), _of_training(path, tables), (rank, world_size) if stream else None)
        return _folder(path)
    if path.is_file() and path.suffix.lower() in (".tar", ".parquet"):
        kind = "parquet" if path.suffix.lower() == ".parquet" else "webdataset"
        is_streamed = stream or kind == "webdataset"
        return _opened(kind, str(path), [str(path)], (rank, world_size) if is_streamed else None)
    if path.exists() or os.path.isabs(location) or path.suffix:
        raise SettingsError(
            f"{path} {'is no kind of data that is known' if path.exists() else 'does not exist'} (looked from "
            f"{Path.cwd()}); a folder of pictures, of .parquet or of .tar files, one such file, or an id is expected."
        )
    return _opened(str(location), str(location), None, (rank, world_size) if stream else None)


def _folder(folder: Path) -> Records:
    paths = sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise SettingsError(
            f"{folder}: pictures in any depth, .parquet or .tar files are expected, but there are none. Pictures end "
            f"in {' '.join(sorted(PICTURE_SUFFIXES))}."
        )
    return _unlabelled(FilePictures(paths), len(paths), f"the pictures in {folder}")


def _opened(kind: str, name: str, files: list[str] | None, part: tuple[int, int] | None) -> Records | PictureStream:
    """Opens what the package datasets can load. part: rank and number of processes of a stream; None: no stream."""
    # Loading datasets takes a second, which folders do not need.
    import datasets

    options: dict[str, Any] = {"streaming": part is not None}
    if files is not None:
        options |= {"data_files": files, "split": "train"}
    try:
        loaded = datasets.load_dataset(kind, **options)
    # Whatever it says, from a missing network to a broken file, is told with what was tried.
    except Exception as error:
        raise SettingsError(f"{name}: cannot be read ({type(error).__name__}: {error}).") from error
    if files is None:
        loaded = loaded[next((part for part in TRAIN_PARTS if part in loaded), next(iter(loaded)))]
    return pictures_of(loaded, name=name, rank=part[0] if part else 0, world_size=part[1] if part else 1)


def pictures_of(dataset: Any, *, name: str, rank: int = 0, world_size: int = 1) -> Records | PictureStream:
    """Returns the pictures of a data set that somebody has loaded.

    dataset: an MsDataset, a data set of datasets, streamed or not, or a list of rows, each a mapping with a picture.
    name: what messages call it. rank, world_size: see open_pictures.
    Raises SettingsError if no column is called like one of pictures.
    """
    # Loading datasets takes a second, which folders do not need.
    import datasets

    dataset = getattr(dataset, "ds_instance", dataset)
    columns = getattr(dataset, "column_names", None) or list(next(iter(dataset), {}))
    image = find_column(columns, _SHARD_COLUMNS)
    if image is None:
        raise SettingsError(
            f"{name}: for the picture one of the columns {', '.join(map(repr, _SHARD_COLUMNS))} is expected; it has "
            f"{', '.join(map(repr, columns))}. Rename the column."
        )
    if isinstance(dataset, datasets.Dataset | datasets.IterableDataset):
        if dataset.features is not None and isinstance(dataset.features.get(image), datasets.Image):
            # Bytes or paths, so that threads decode them.
            dataset = dataset.cast_column(image, datasets.Image(decode=False))
        dataset = dataset.select_columns([image])
    if isinstance(dataset, datasets.IterableDataset):
        return _stream(dataset, image, name, rank, world_size)
    pictures = RowPictures(lambda row: dataset[row][image], one_at_a_time=False)
    return _unlabelled(pictures, len(dataset), name)


def _stream(dataset: Any, image: str, name: str, rank: int, world_size: int) -> PictureStream:
    # Loading datasets takes a second, which folders do not need.
    from datasets.distributed import split_dataset_by_node

    def open_rows(seed: int | None) -> Iterator[Mapping[str, Any]]:
        rows = dataset if seed is None else dataset.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER_ROWS)
        if world_size > 1:
            rows = split_dataset_by_node(rows, rank=rank, world_size=world_size)
        return iter(rows)

    share = f", part {rank + 1} of {world_size}" if world_size > 1 else ""
    return PictureStream(open_rows, image, description=f"the stream {name}{share}", part=(rank, world_size))


def _unlabelled(pictures: FilePictures | RowPictures, number: int, description: str) -> Records:
    return Records(pictures, np.full(number, NO_LABEL, np.int64), (), description=description)


def _of_training(folder: Path, files: list[str]) -> list[str]:
    """Returns the files of the training part, told by their folder or the beginning of their name; else all."""
    inside = {file: Path(file).relative_to(folder) for file in files}
    own = [
        file
        for file, path in inside.items()
        if path.name.startswith(TRAIN_PARTS) or any(part in TRAIN_PARTS for part in path.parts[:-1])
    ]
    return own or files
