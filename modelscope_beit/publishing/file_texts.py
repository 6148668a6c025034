"""The texts that the files of a folder hold, wherever they hide: in pickles, headers and metadata too."""

import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from modelscope_beit.names import PICTURE_SUFFIXES

# Records of torch's archives that hold numbers only.
_NUMBERS = "/data/"
_MOST_BYTES = 64 << 20
# Of a picture: profiles of colours, in a binary format of their own.
_NO_TEXTS = ("icc_profile",)


def texts_below(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each file, the name below the folder with slashes.

    Of weights and pictures only what is beside the numbers: names and values in a pickle, the header of safetensors,
    what a camera or a program has noted in a picture. Other files are read as UTF-8, with marks for what is not.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), _text_of(path)


def _text_of(path: Path) -> str:
    if path.suffix == ".safetensors":
        return _safetensors_header(path)
    if path.suffix.lower() in PICTURE_SUFFIXES and (notes := _notes_in_picture(path)) is not None:
        return notes
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _NUMBERS not in name]
            return "\n".join(f"{name}\n{_decoded(archive.read(name))}" for name in names)
    with path.open("rb") as file:
        return _decoded(file.read(_MOST_BYTES))


def _safetensors_header(path: Path) -> str:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        text = _decoded(file.read(min(length, _MOST_BYTES)))
    try:
        # Escapes would hide a path or a word.
        return json.dumps(json.loads(text).get("__metadata__", {}), ensure_ascii=False)
    except (ValueError, AttributeError):
        return text


def _notes_in_picture(path: Path) -> str | None:
    """Returns the texts beside the pixels; None if it is no picture."""
    try:
        with Image.open(path) as picture:
            picture.load()  # Some notes come after the pixels.
            values = [value for name, value in picture.info.items() if name not in _NO_TEXTS]
            values += picture.getexif().values()
    except (OSError, ValueError, SyntaxError):
        return None
    return "\n".join(_decoded(value) if isinstance(value, bytes) else str(value) for value in values)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")
