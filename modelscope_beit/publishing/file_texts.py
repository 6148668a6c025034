"""The texts that the files of a folder hold, wherever they hide: in pickles, headers and metadata too."""

import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

# Files that are text as a whole; of all others the bytes are searched as they are.
_TEXT = (".json", ".jsonl", ".md", ".txt", ".py", ".csv", ".yaml", ".yml", ".html", "LICENSE", ".log")
# Records of torch's archives that hold numbers only.
_NUMBERS = "/data/"
_MOST_BYTES = 64 << 20


def texts_below(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each file, the name below the folder with slashes.

    Of weights only what is beside the numbers: the names and values in the pickle, the header of safetensors. Bytes
    that are no UTF-8 are read as Latin-1, so that words among them can be found.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), _text_of(path)


def _text_of(path: Path) -> str:
    if path.suffix == ".safetensors":
        return _safetensors_header(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _NUMBERS not in name]
            return "\n".join(f"{name}\n{_decoded(archive.read(name))}" for name in names)
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES)
    return content.decode("utf-8", "replace") if path.name.endswith(_TEXT) else _decoded(content)


def _safetensors_header(path: Path) -> str:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        text = file.read(min(length, _MOST_BYTES)).decode("utf-8", "replace")
    try:
        # Escapes would hide a path or a word.
        return json.dumps(json.loads(text).get("__metadata__", {}), ensure_ascii=False)
    except (ValueError, AttributeError):
        return text


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
