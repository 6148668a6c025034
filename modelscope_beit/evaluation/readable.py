"""Evaluation that survives pictures nobody can read: they are left out, counted and named, never silently."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from modelscope_beit.data.batches import Batch, PictureTransform
from modelscope_beit.data.records import Records
from modelscope_beit.errors import ImageError
from modelscope_beit.images.reading import read_image

_MARK = "modelscope_beit: unreadable"


class ForgivingTransform:
    """Gives NaN for a picture that ForgivingPictures could not read, or that does not fit; normalised pixels are never
    NaN, so batches show it wherever they were made, in threads or in processes.
    """

    def __init__(self, transform: PictureTransform) -> None:
        self._transform = transform

    def __call__(self, picture: Image.Image) -> Tensor:
        """Returns (3, H, W) float32."""
        if _MARK not in picture.info:
            try:
                return self._transform(picture)
            except ImageError:
                pass
        return torch.full_like(self._transform(_blank()), torch.nan)


class ForgivingPictures:
    """The pictures of records, decoded; a marked blank one in place of each that cannot be read."""

    def __init__(self, records: Records, read: Callable[[Any], Image.Image]) -> None:
        self._records = records
        self._read = read

    def read(self, row: int) -> tuple[Any, str]:
        """Returns an RGB picture and its name."""
        name = f"#{row}"
        try:
            record = self._records[row]
            name = record.name
            return self._read(record.image), name
        except ImageError:
            blank = _blank()
            blank.info[_MARK] = True
            return blank, name

    def files(self) -> Sequence[str] | None:
        """Returns the paths of the pictures, if they are files."""
        return self._records.files()


def forgiving(records: Records, *, read: Callable[[Any], Image.Image] = read_image) -> Records:
    """Returns the records with blank pictures for those that cannot be read; for a ForgivingTransform only.

    read: picture, as records have it -> RGB picture.
    """
    pictures = ForgivingPictures(records, read)
    return Records(pictures, records.labels(), records.class_names, description=records.description)


def readable_rows(batches: Iterable[Batch], left_out: list[int]) -> Iterator[Batch]:
    """Yields the batches without the rows that a ForgivingTransform has marked; adds their indices to `left_out`."""
    for batch in batches:
        is_marked = batch.images[:, 0, 0, 0].isnan()
        if is_marked.any():
            left_out += batch.indices[is_marked].tolist()
            kept = ~is_marked
            batch = replace(
                batch,
                images=batch.images[kept],
                labels=batch.labels[kept],
                indices=batch.indices[kept],
                weights=batch.weights[kept],
            )
        if len(batch.indices):
            yield batch


def reasons(records: Records, rows: Iterable[int], transform: PictureTransform) -> list[tuple[str, str]]:
    """Returns the name of each of these rows and why it cannot be evaluated."""
    return [_reason(records, row, transform) for row in sorted(rows)]


def _reason(records: Records, row: int, transform: PictureTransform) -> tuple[str, str]:
    name = f"#{row}"
    try:
        record = records[row]
        name = record.name
        transform(read_image(record.image))
    except ImageError as error:
        return name, str(error)
    return name, "could not be read at first, but can be now"


def _blank() -> Image.Image:
    return Image.new("RGB", (256, 256))
