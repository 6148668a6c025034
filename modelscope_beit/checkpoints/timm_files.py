"""Tells what a file or folder of timm says about its network, which is not built here.

Sources: timm models/_hub.py (config.json), utils/checkpoint_saver.py (what its train.py leaves), models/resnetv2.py
(BigTransfer's original .npz files).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.checkpoints.foreign_folders import CONFIG_FILE, read_json, timm_class_names, weights_in
from modelscope_beit.errors import CheckpointError

# Architectures that are native, and read without timm.
_NATIVE = ("beit", "vit_", "deit")
_NPZ = ".npz"
# BigTransfer: residual units of the third block -> layers of the network.
_BIT_DEPTHS = {6: 50, 23: 101, 36: 152}
_BIT_STEM = "resnet/root_block/standardized_conv2d/kernel"
_BIT_HEAD = "resnet/head/conv2d/kernel"
_BIT_STEM_WIDTH = 64
_NUM_CLASSES_21K = 21843
_POOLINGS = ("avg", "")


@dataclass(frozen=True)
class TimmFile:
    """What is known of a network of timm before it is built.

    weights: the file, or the index of several. architecture: timm's name, with the tag of its pretrained weights where
    that is known. arguments: keywords of timm.create_model. preprocessing: keys of a pretrained_cfg that are said; the
    others are those of the architecture. num_classes: None if the weights have to tell.
    """

    weights: Path
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    num_classes: int | None = None

    @property
    def is_npz(self) -> bool:
        """Whether it is a file of BigTransfer's authors, which only timm's network itself can read."""
        return self.weights.suffix == _NPZ


def read_timm_file(path: Path, architecture: str | None = None) -> TimmFile | None:
    """Returns what a file or folder says, or None if it is not timm's or holds a network that is native.

    architecture: of a weight file that does not say what it is.
    Raises CheckpointError for a damaged configuration or .npz, for a pooling other than the mean, and for the name of a
    network beside a folder, which says it itself.
    """
    if path.is_dir() and architecture is not None:
        raise CheckpointError(f"{path} is a folder, which says itself what it holds; {architecture!r} is not needed.")
    if path.is_dir():
        config = path / CONFIG_FILE
        content = read_json(config) if config.is_file() else {}
        # transformers has such a key too, beside its own.
        is_timm = "architecture" in content and "model_type" not in content
        found = _of_folder(path, content) if is_timm else None
    elif path.suffix == _NPZ:
        found = _of_npz(path, architecture)
    else:
        found = _of_file(path, architecture)
    if found is None or found.architecture.startswith(_NATIVE):
        return None
    pooling = found.arguments.pop("global_pool", None) or ""
    if pooling not in _POOLINGS:
        raise CheckpointError(f"{path}: the pooling is {pooling!r}, but only 'avg', the mean, can be expressed.")
    return found


def _of_folder(folder: Path, content: Mapping[str, Any]) -> TimmFile:
    pretrained = content.get("pretrained_cfg", content)
    arguments = dict(content.get("model_args", {}))
    # The pooling beside the arguments only repeats what was built.
    arguments.setdefault("global_pool", content.get("global_pool"))
    num_classes = arguments.pop("num_classes", None)
    return TimmFile(
        weights_in(folder),
        content["architecture"],
        arguments,
        dict(pretrained),
        timm_class_names(content),
        content.get("num_classes", num_classes),
    )


def _of_file(path: Path, architecture: str | None) -> TimmFile | None:
    """Returns what a file of timm's train.py says of itself, or of a bare one what was said about it."""
    content = read_weights(path).metadata if path.is_file() else {}
    found = architecture or content.get("arch")
    if not isinstance(found, str):
        return None
    said = content.get("args")
    options = {name: value for name, value in said.items() if value is not None} if isinstance(said, Mapping) else {}
    arguments = dict(options.get("model_kwargs", {}))
    for option, name in {"in_chans": "in_chans", "gp": "global_pool"}.items():
        if option in options:
            arguments[name] = options[option]
    preprocessing = {
        name: options[name] for name in ("input_size", "mean", "std", "interpolation", "crop_pct") if name in options
    }
    if "img_size" in options:
        preprocessing.setdefault("input_size", [3, options["img_size"], options["img_size"]])
    return TimmFile(path, found, arguments, preprocessing)


def _of_npz(path: Path, architecture: str | None) -> TimmFile:
    """Returns what BigTransfer's authors published; its shapes tell the network, its classes how pictures were made."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            shapes = {name: arrays[name].shape for name in (_BIT_STEM, _BIT_HEAD) if name in names}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise CheckpointError(f"Expected arrays of NumPy in {path}, but reading it failed: {error}.") from error
    if len(shapes) < 2:
        raise CheckpointError(
            f"Expected a network of BigTransfer in {path}, with {_BIT_STEM} and {_BIT_HEAD}, "
            f"but it holds {', '.join(names[:5]) or 'nothing'}."
        )
    num_classes, width = shapes[_BIT_HEAD][-1], shapes[_BIT_STEM][-1]
    if architecture is None:
        units = len({name.split("/")[2] for name in names if name.startswith("resnet/block3/")})
        if units not in _BIT_DEPTHS:
            known = ", ".join(map(str, _BIT_DEPTHS))
            raise CheckpointError(f"{path}: its third block has {units} units, but BigTransfer's have one of {known}.")
        tag = "goog_in21k" if num_classes == _NUM_CLASSES_21K else "goog_in21k_ft_in1k"
        architecture = f"resnetv2_{_BIT_DEPTHS[units]}x{width // _BIT_STEM_WIDTH}_bit.{tag}"
    # Its authors resize both sides, whatever the aspect ratio.
    return TimmFile(path, architecture, {}, {"crop_mode": "squash", "crop_pct": 1.0}, None, num_classes)
