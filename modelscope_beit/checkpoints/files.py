"""Reads and writes weight files: .pt, .pth, .bin, .safetensors, and several of these with an index. torch only.

Nothing in a file is executed. Tensors are mapped from disk, privately: to change them never changes the file.
"""

import hashlib
import json
import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modelscope_beit.checkpoints.pickled import read_pickled
from modelscope_beit.errors import CheckpointError

# Where training programs put the state dict, in the order in which we look. The averaged weights come last: they are
# taken only where nothing else is.
WRAPPERS = ("state_dict", "model", "module", "state_dict_ema", "model_ema")
INDEX_SUFFIX = ".index.json"
_DDP_PREFIX = "module."


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    tensors: the state dict, without wrapper and without the `module.` of distributed training.
    metadata: everything else in the file that is a plain value, e.g. `meta` or `epoch`.
    wrapper: the key that the state dict was found under, "" if it was the whole file.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, object]
    path: Path
    wrapper: str = ""

    @property
    def meta(self) -> dict[str, object]:
        """What mm files keep beside the weights, e.g. CLASSES; empty if there is nothing."""
        meta = self.metadata.get("meta")
        return dict(meta) if isinstance(meta, Mapping) else {}


@dataclass
class _Content:
    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)
    wrapper: str = ""


def read_weights(path: str | os.PathLike[str]) -> WeightFile:
    """Returns the tensors and plain values of a weight file; its first bytes tell what kind it is.

    An index (model.safetensors.index.json) gives the tensors of all the files it lists.
    Raises CheckpointError if the file is missing, empty, truncated or no weights, UntrustedCodeError if it is a
    pickle that needs more than tensors and plain values.
    """
    path = Path(path)
    start = _start_of(path)
    if path.name.endswith(INDEX_SUFFIX):
        content = _read_index(path)
    elif start[8:9] == b"{" or path.suffix == ".safetensors":
        content = _read_safetensors(path)
    else:
        content = _unwrapped(read_pickled(path), path)
    if not content.tensors:
        raise CheckpointError(f"Expected weights in {path}, but there is no tensor in it.")
    if all(key.startswith(_DDP_PREFIX) for key in content.tensors):
        content.tensors = {key.removeprefix(_DDP_PREFIX): tensor for key, tensor in content.tensors.items()}
    return WeightFile(content.tensors, content.metadata, path, content.wrapper)


def write_weights(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, object] | None = None
) -> None:
    """Writes a weight file, all or nothing: until the last moment the path keeps what it held.

    The suffix .safetensors gives that kind, any other one a file of torch.save in the layout of mm files:
    {"state_dict": tensors, "meta": metadata}. metadata: plain values, in safetensors kept as JSON.
    Raises CheckpointError if it cannot be written.
    """
    path = Path(path)
    own = {key: _own(tensor) for key, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        header = {"format": "pt"} | ({"meta": json.dumps(metadata)} if metadata else {})
        write_atomically(path, lambda beside: save_file(own, beside, header))
    else:
        content = {"state_dict": own, "meta": dict(metadata or {})}
        write_atomically(path, lambda beside: _save(content, beside))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside the path, brings it to the disk and renames it, so that no half file is ever seen.

    write: gets the path of the file beside, and writes it.
    Raises CheckpointError that names the path if that fails; the half file is removed.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"Could not write {path}: {error}. What was there before is unchanged.") from error
    finally:
        beside.unlink(missing_ok=True)


def _save(content: object, path: Path) -> None:
    # To an open file: torch writes the name of a path into the file, so the same weights would differ every time.
    with path.open("wb") as file:
        torch.save(content, file)


def file_digest(path: str | os.PathLike[str]) -> str:
    """Returns "sha256:" and the hexadecimal digest of a file; of an index, that of it and its files in order."""
    path = Path(path)
    paths = [path, *_shards(path)] if path.name.endswith(INDEX_SUFFIX) else [path]
    digest = hashlib.sha256()
    for one in paths:
        with one.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _start_of(path: Path) -> bytes:
    """Returns the first bytes; raises CheckpointError for what people have in place of weights."""
    if not path.is_file():
        what = "that is a folder" if path.is_dir() else "there is no such file"
        raise CheckpointError(f"Expected a weight file at {path}, but {what}.")
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        raise CheckpointError(f"Expected weights in {path}, but the file is empty. Download it again.")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"Expected weights in {path}, but it is a git-lfs pointer of {path.stat().st_size} bytes. "
            f"Fetch the file itself with: git lfs pull"
        )
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<?xml", b"<head"):
        raise CheckpointError(
            f"Expected weights in {path}, but it is a web page: {start.strip()[:60]!r}. "
            f"The download was answered by a log-in or error page; download it again."
        )
    return start


def _read_safetensors(path: Path) -> _Content:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, object] = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"Expected safetensors in {path}, but the file ({path.stat().st_size:,} bytes) is truncated or damaged: "
            f"{error}. Download or copy it again."
        ) from error
    if isinstance(metadata.get("meta"), str):
        try:
            metadata["meta"] = json.loads(str(metadata["meta"]))
        except ValueError:
            pass  # Somebody else's word for something else: it stays text.
    return _Content(tensors, metadata)


def _read_index(path: Path) -> _Content:
    content = _Content()
    wanted = _weight_map(path)
    for shard in _shards(path):
        content.tensors |= read_weights(shard).tensors
    missing = sorted(set(wanted) - set(content.tensors))
    if missing:
        raise CheckpointError(f"{path} lists weights that its files do not hold: {', '.join(missing[:5])}.")
    return content


def _shards(index: Path) -> list[Path]:
    shards = [index.parent / name for name in sorted(set(_weight_map(index).values()))]
    outside = [str(shard) for shard in shards if shard.parent.resolve() != index.parent.resolve()]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if outside or missing:
        what = f"outside its folder: {', '.join(outside)}" if outside else f"that are missing: {', '.join(missing)}"
        raise CheckpointError(f"{index} lists files {what}.")
    return shards


def _weight_map(index: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(key): str(name) for key, name in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f'Expected a JSON object with a "weight_map" of keys to files in {index}, but reading it failed: {error!r}.'
        ) from error


def _unwrapped(content: object, path: Path) -> _Content:
    if isinstance(content, Tensor) or not isinstance(content, Mapping):
        raise CheckpointError(f"Expected a state dict in {path}, but it holds a {type(content).__name__}.")
    for wrapper in WRAPPERS:
        state = content.get(wrapper)
        if isinstance(state, Mapping) and any(isinstance(value, Tensor) for value in state.values()):
            return _Content(_tensors(state), _plain_values(content) | _plain_values(state), wrapper)
    return _Content(_tensors(content), _plain_values(content))


def _tensors(state: Mapping[object, object]) -> dict[str, Tensor]:
    return {str(key): value.detach() for key, value in state.items() if isinstance(value, Tensor)}


def _plain_values(values: Mapping[object, object]) -> dict[str, object]:
    """Returns the entries without any tensor in them: an optimiser's state, for one, is left out."""
    plain = {str(key): _plain(value) for key, value in values.items() if not isinstance(value, Tensor)}
    return {key: value for key, value in plain.items() if value is not _NOT_PLAIN}


_NOT_PLAIN = object()


def _plain(value: object) -> object:
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        children = {str(key): _plain(child) for key, child in value.items()}
        return _NOT_PLAIN if any(child is _NOT_PLAIN for child in children.values()) else children
    if isinstance(value, list | tuple | set):
        items = [_plain(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    return value if value is None or isinstance(value, str | int | float | bool) else _NOT_PLAIN


def _own(tensor: Tensor) -> Tensor:
    """Returns the tensor in a storage of its own, so that a file holds its numbers and no more."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
