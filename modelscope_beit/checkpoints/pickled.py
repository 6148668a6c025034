"""Reads what torch.save wrote, without running any code that it may hold. torch only."""

import argparse
import codecs
import io
import pickle
import pickletools
import re
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from modelscope_beit.errors import CheckpointError, UntrustedCodeError

_ZIP_MAGIC = b"PK\x03\x04"
# The first pickle of a file of torch before 1.6 is this number.
_LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
# torch keeps what is allowed in one list for the whole process.
_ALLOWING = threading.Lock()
_REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+)")


def _data_types() -> list[Any]:
    """Returns what a checkpoint may hold besides tensors: things that are only data when they are rebuilt.

    unilm's `args` is a Namespace, mmcv's `meta` and optimiser states hold numpy scalars and arrays. numpy calls its
    internals by another name since 2.0, so both are allowed.
    """
    reconstruct, scalar = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
    # A pickle of protocol 2 makes bytes with codecs.encode.
    allowed: list[Any] = [argparse.Namespace, np.ndarray, np.dtype, defaultdict, codecs.encode]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [(reconstruct, f"{module}._reconstruct"), (scalar, f"{module}.scalar")]
    allowed += {type(np.dtype(kind)) for kind in "?bhilqBHILQefdFDSU"}
    return allowed


def read_pickled(path: Path) -> object:
    """Returns the content of a file of torch.save; tensors stay on disk until they are used, where torch can do so.

    Raises UntrustedCodeError if it needs anything but tensors and plain values, CheckpointError if it is damaged or
    something else.
    """
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_MAGIC))
    is_zip = start.startswith(_ZIP_MAGIC)
    if not is_zip and start != _LEGACY_MAGIC:
        raise _not_by_torch(path)
    try:
        if is_zip and _is_torchscript(path):
            raise UntrustedCodeError(_advice(path, "is a TorchScript archive, which holds code"))
        with _ALLOWING, torch.serialization.safe_globals(_data_types()):
            content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
            return content
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except UntrustedCodeError:
        raise
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, AssertionError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"Expected weights in {path}, but the file ({path.stat().st_size:,} bytes) is truncated or damaged: "
            f"{_reason(error)} Download or copy it again."
        ) from error


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _refusal(path: Path, error: pickle.UnpicklingError) -> Exception:
    """Returns the error for a pickle that torch's reader of weights did not take."""
    named = _REFUSED_GLOBAL.search(str(error))
    wanted = [named[1]] if named else _wanted_globals(path)
    if wanted:
        return UntrustedCodeError(_advice(path, f"wants {', '.join(wanted)}, which could run code"))
    return CheckpointError(
        f"Expected weights in {path}, but torch cannot read them: {_reason(error)} "
        f"The file is damaged or was not written by torch.save."
    )


def _not_by_torch(path: Path) -> Exception:
    """Returns the error for a file that is neither of torch's two kinds, e.g. a bare pickle or a tar archive."""
    wanted = _wanted_globals(path)
    if wanted:
        return UntrustedCodeError(_advice(path, f"is a pickle not written by torch that wants {', '.join(wanted)}"))
    with path.open("rb") as file:
        start = file.read(16)
    return CheckpointError(
        f"Expected weights in {path}, written by torch.save or safetensors, but the file begins with {start!r}. "
        f"A tar archive of torch before 0.1.10 or another kind of file has to be saved again with torch.save."
    )


def _advice(path: Path, what: str) -> str:
    return (
        f"{path} {what}. Only tensors and plain values are read. If you trust the file, open it once with "
        f"torch.load(path, weights_only=False) and save its state dict again with torch.save; "
        f"for a whole model folder, pass trust_remote_code=True."
    )


def _wanted_globals(path: Path) -> list[str]:
    """Returns the Python names that a pickle asks for, in order, but for those of tensors; without running it."""
    found: list[str] = []
    for stream in _pickle_streams(path):
        memo: dict[object, str] = {}
        pushed = ["", ""]
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    found.append(str(argument).replace(" ", ".", 1))
                elif opcode.name == "STACK_GLOBAL":
                    found.append(".".join(pushed[-2:]))
                elif opcode.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
                    memo[len(memo) if argument is None else argument] = pushed[-1]
                    continue
                pushed.append(memo.get(argument, "") if "GET" in opcode.name else _text(argument))
        except (ValueError, EOFError, UnicodeDecodeError):
            break  # Not a pickle, or cut short: what it asked for until here counts.
    return [name for name in dict.fromkeys(found) if not name.startswith(("torch.", "collections.OrderedDict"))]


def _text(argument: object) -> str:
    return argument if isinstance(argument, str) else ""


def _pickle_streams(path: Path) -> Iterator[BinaryIO]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (io.BytesIO(archive.read(name)) for name in archive.namelist() if name.endswith("data.pkl"))
        return
    stream = io.BytesIO(path.read_bytes())
    # The legacy kind is several pickles in a row; each is read up to its end, where the next begins.
    while stream.read(1) == b"\x80":
        stream.seek(-1, io.SEEK_CUR)
        yield stream


def _reason(error: Exception) -> str:
    """Returns the one sentence that matters of what torch says."""
    text = str(error).strip().rpartition("WeightsUnpickler error:")[2].strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}".rstrip(".") + "."
