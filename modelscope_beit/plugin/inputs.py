"""What a pipeline may be called with -> what images/reading.py reads."""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from modelscope.fileio import File
from PIL import Image

from modelscope_beit.errors import ImageError

# Where a mapping keeps its picture. "image:FILE" is a column of ModelScope's data sets, "bytes" and "path" are what
# `datasets` gives for a picture that it was told not to decode.
_PICTURE_KEYS = ("image:FILE", "image", "filename", "bytes", "path")
_ONE_PICTURE = (str, bytes, bytearray, memoryview, os.PathLike, np.ndarray, Image.Image, Mapping, torch.Tensor)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_stream(value: Any) -> bool:
    """Tells whether a value is a generator, an iterator or a data set: pictures to be taken one after another."""
    return not isinstance(value, (*_ONE_PICTURE, list, tuple)) and (
        hasattr(value, "__iter__") or hasattr(value, "__getitem__")
    )


def picture_in(value: Any) -> Any:
    """Returns the picture in a value that a pipeline was called with, in a form that read_image reads.

    value: the picture itself, a mapping that holds it (a row of a data set) or an address that only ModelScope can
    read, such as oss://, whose bytes are then returned. Raises ImageError if there is none.
    """
    if isinstance(value, Mapping):
        found = [value[key] for key in _PICTURE_KEYS if value.get(key) is not None]
        if not found:
            raise ImageError(
                f"A mapping must hold its picture under one of {', '.join(_PICTURE_KEYS)}; "
                f"this one has the keys {', '.join(map(str, value)) or '(none)'}."
            )
        picture = found[0]
        # A streamed row of ModelScope holds a list of one path.
        return picture_in(picture[0] if isinstance(picture, list) and len(picture) == 1 else picture)
    scheme = _SCHEME.match(value) if isinstance(value, str) else None
    if scheme is None or scheme[1].lower() in ("http", "https", "file"):
        return value
    try:
        return File.read(value)
    except (AssertionError, NotImplementedError, ValueError) as error:
        raise ImageError(f"ModelScope cannot read {value}: {error or type(error).__name__}") from error
