"""Opens any checkpoint that we know, file or folder, and tells everything that a model folder needs.

torch only; nothing in it is executed.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from modelscope_beit import names
from modelscope_beit.checkpoints.convert import Conversion, complete, rename
from modelscope_beit.checkpoints.files import WeightFile, file_digest, read_weights
from modelscope_beit.checkpoints.foreign_folders import (
    CONFIG_FILE,
    ForeignFolder,
    read_json,
    read_timm_folder,
    read_transformers_folder,
    weights_in,
)
from modelscope_beit.checkpoints.infer import Hints, infer_grid, infer_settings
from modelscope_beit.checkpoints.input_recipes import (
    FAMILY_TITLES,
    Family,
    guess_family,
    published_recipe,
    scaled_steps,
)
from modelscope_beit.checkpoints.load import as_float32
from modelscope_beit.checkpoints.recognise import recognise
from modelscope_beit.checkpoints.resize import resize_weights
from modelscope_beit.errors import CheckpointError
from modelscope_beit.settings.class_file import read_class_file
from modelscope_beit.settings.configuration import FolderSettings, native_parts, read_configuration
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.preprocessing import Step


@dataclass(frozen=True)
class Source:
    """A checkpoint, opened.

    path: the file or folder that was given; weights: the file (or index) in it. layout: the name of its key table.
    file_image_size: (height, width) in pixels that the file was made for; settings has the one asked for.
    tensors: complete, under our names, float32. class_names: None where the checkpoint has none.
    preprocessing: the steps that belong to this checkpoint. description: one line for people. digest: of the weights.
    conversion: what became of every key, and the weights before a change of size.
    """

    path: Path
    weights: Path
    layout: str
    file_image_size: tuple[int, int]
    settings: ModelSettings
    tensors: dict[str, Tensor]
    class_names: tuple[str, ...] | None
    preprocessing: tuple[Step, ...]
    description: str
    digest: str
    conversion: Conversion


@dataclass(frozen=True)
class _Opened:
    """What the kinds of sources have in common. settings and conversion: of the file; image_size: to be made."""

    file: WeightFile
    settings: ModelSettings
    conversion: Conversion
    class_names: tuple[str, ...] | None
    preprocessing: tuple[Step, ...]
    image_size: tuple[int, int]
    title: str


@dataclass(frozen=True)
class _Request:
    family: Family | None
    image_size: tuple[int, int] | None
    num_classes: int | None
    configuration: FolderSettings | None


def open_source(
    path: str | os.PathLike[str],
    *,
    family: Family | None = None,
    image_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    configuration: FolderSettings | None = None,
) -> Source:
    """Returns what a checkpoint holds: a weight file of unilm, timm, transformers, mmcls, mmpretrain or ModelScope,
    or a folder of transformers, timm or ModelScope.

    family: what a file without a configuration is, where its name does not tell. image_size: (height, width) in
    pixels that positions and steps are changed to. num_classes: of the fresh head that a file without one gets (1000).
    configuration: of a ModelScope folder, where it is not read from its configuration.json.
    Raises CheckpointError, naming the file, for what is missing, unknown or contradicts itself, UntrustedCodeError for
    pickles with code, SettingsError for a configuration that cannot be read.
    """
    path = Path(path).expanduser()
    request = _Request(family, image_size, num_classes, configuration)
    try:
        opened = _open_folder(path, request) if path.is_dir() else _open_file(path, request)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from error
    settings, tensors = resize_weights(opened.conversion.tensors, opened.settings, opened.image_size)
    class_names, remark = _checked_names(opened.class_names, settings.num_classes)
    return Source(
        path,
        opened.file.path,
        opened.conversion.layout.name,
        opened.settings.backbone.image_size,
        settings,
        {key: as_float32(tensor) for key, tensor in tensors.items()},
        class_names,
        opened.preprocessing,
        _description(opened, settings) + remark,
        file_digest(opened.file.path),
        opened.conversion,
    )


def read_folder_configuration(folder: Path) -> FolderSettings | None:
    """Returns what configuration.json says; None if a folder has none, or one without a network in it.

    Hub mirrors of transformers models have one of the latter kind.
    """
    file = folder / names.CONFIGURATION_FILE
    content = read_json(file) if file.is_file() else {}
    has_network = isinstance(content.get("model"), dict) and "mm_model" in content["model"]
    return read_configuration(content, str(file)) if has_network else None


def _open_folder(folder: Path, request: _Request) -> _Opened:
    configuration = request.configuration or read_folder_configuration(folder)
    if configuration is not None:
        return _open_modelscope(folder, configuration, request)
    if (folder / CONFIG_FILE).is_file():
        config = read_json(folder / CONFIG_FILE)
        if "model_type" in config:
            return _open_foreign(read_transformers_folder(folder), request)
        if "architecture" in config:
            return _open_foreign(read_timm_folder(folder), request)
    raise CheckpointError(
        f"Expected a model folder at {folder}: {names.CONFIGURATION_FILE} with model.mm_model (ModelScope), "
        f"or {CONFIG_FILE} with model_type (transformers) or architecture (timm); "
        f"there are {', '.join(sorted(entry.name for entry in folder.iterdir())[:8]) or 'no files'}. "
        f"A single weight file can be given by its own path.{_advice_on_code(folder)}"
    )


def _advice_on_code(folder: Path) -> str:
    if not (folder / names.MM_CONFIGURATION_FILE).is_file():
        return ""
    return (
        f" Its {names.MM_CONFIGURATION_FILE} is Python code, which is not run unasked: read it, and if you trust it, "
        "pass --trust-remote-code."
    )


def _open_file(path: Path, request: _Request) -> _Opened:
    file = read_weights(path)
    renamed = rename(file.tensors, recognise(file.tensors))
    settings = infer_settings(renamed, Hints(num_classes=request.num_classes))
    if renamed.layout.name.startswith("transformers-"):
        # The library's default, which all its published models have; the file cannot tell.
        settings = replace(settings, backbone=replace(settings.backbone, layer_norm_eps=1e-12))
    family, reason = request.family or "beitv2", "as asked for"
    if request.family is None:
        family, reason = guess_family(renamed, path.name)
    image_size = request.image_size or settings.backbone.image_size
    resized = settings.with_image_size(*image_size)
    recipe = published_recipe(family, renamed, resized, is_wrapped=bool(file.wrapper))
    conversion = complete(renamed, settings, new_head=_is_headless(renamed.tensors))
    title = f"{FAMILY_TITLES[family]} ({reason})"
    return _Opened(file, settings, conversion, _names_in(file), recipe.steps(image_size), image_size, title)


def _open_foreign(folder: ForeignFolder, request: _Request) -> _Opened:
    file = read_weights(folder.weights)
    renamed = rename(file.tensors, recognise(file.tensors))
    settings = infer_settings(
        renamed, replace(folder.hints, num_classes=request.num_classes or folder.hints.num_classes)
    )
    conversion = complete(renamed, settings, new_head=_is_headless(renamed.tensors))
    image_size = request.image_size or settings.backbone.image_size
    steps = folder.recipe.steps(image_size)
    return _Opened(file, settings, conversion, folder.class_names or _names_in(file), steps, image_size, folder.title)


def _open_modelscope(folder: Path, content: FolderSettings, request: _Request) -> _Opened:
    model, kept_steps = native_parts(content, f"to convert {folder}")
    file = read_weights(weights_in(folder, names.WEIGHT_FILES))
    renamed = rename(file.tensors, recognise(file.tensors))
    backbone = model.backbone
    rows, columns = infer_grid(renamed, backbone.patch_size, backbone.grid)
    settings = model.with_image_size(rows * backbone.patch_size, columns * backbone.patch_size)
    is_headless = renamed.layout.pretraining
    if is_headless and request.num_classes:
        settings = settings.with_num_classes(request.num_classes)
    conversion = complete(renamed, settings, new_head=is_headless)
    image_size = request.image_size or backbone.image_size
    steps = scaled_steps(kept_steps, backbone.image_size, image_size)
    class_names = _names_in(file) or content.class_names or _names_in_file(folder, content)
    return _Opened(file, settings, conversion, class_names, steps, image_size, "ModelScope folder")


def _is_headless(tensors: dict[str, Tensor]) -> bool:
    return not any(key.startswith(names.HEAD_PREFIX) for key in tensors)


def _names_in(file: WeightFile) -> tuple[str, ...] | None:
    classes = file.meta.get("CLASSES")
    return tuple(str(name) for name in classes) if isinstance(classes, list) and classes else None


def _names_in_file(folder: Path, content: FolderSettings) -> tuple[str, ...] | None:
    file = folder / (content.class_names_file or names.CLASS_NAMES_FILE)
    return read_class_file(file) if file.is_file() else None


def _checked_names(class_names: tuple[str, ...] | None, num_classes: int) -> tuple[tuple[str, ...] | None, str]:
    """Returns the class names if there is one for each class, and what to say if not."""
    if class_names is None or len(class_names) == num_classes:
        return class_names, ""
    return None, f"; its {len(class_names)} class names are left out, since the head has {num_classes} classes"


def _description(opened: _Opened, settings: ModelSettings) -> str:
    height, width = opened.settings.backbone.image_size
    new_height, new_width = settings.backbone.image_size
    millions = sum(tensor.numel() for tensor in opened.conversion.tensors.values()) / 1e6
    parts = [
        f"{opened.file.path.name}: {opened.title}, keys of {opened.conversion.layout.title}",
        f"{settings.num_classes} classes, {height}x{width} pixels, {millions:.1f} M parameters",
    ]
    if opened.file.wrapper:
        parts.append(f"weights from {opened.file.wrapper!r}")
    if (height, width) != (new_height, new_width):
        parts.append(f"resized to {new_height}x{new_width}")
    if opened.conversion.initialised:
        parts.append(f"fresh: {', '.join(opened.conversion.initialised)}")
    return "; ".join(parts)
