"""From a checkpoint of any known kind to a model folder, or to the format of another library, with a proof."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from modelscope_beit import names
from modelscope_beit.checkpoints.foreign_folders import CONFIG_FILE
from modelscope_beit.checkpoints.input_recipes import Family
from modelscope_beit.checkpoints.proof import Proof, prove
from modelscope_beit.checkpoints.source import Source, open_source
from modelscope_beit.checkpoints.targets import write_timm, write_transformers, write_unilm
from modelscope_beit.errors import CheckpointError, ModelFolderError
from modelscope_beit.model_folder.calibrated import store_confidence
from modelscope_beit.model_folder.card import Origin, write_card
from modelscope_beit.model_folder.label_files import check_label_count, known_labels, read_labels
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.model_folder.writing import check_target, write_model_folder
from modelscope_beit.settings.confidence import Confidence
from modelscope_beit.settings.configuration import FolderSettings

_logger = logging.getLogger(__name__)

Target = Literal["modelscope", "unilm", "timm", "transformers"]


@dataclass(frozen=True)
class ConversionRequest:
    """What is to become of a checkpoint.

    to: the format; "unilm" gives a single file, the others a folder. labels: a text file of class names, one a line.
    image_size: (height, width) in pixels that positions are changed to. family: what a file without a configuration
    is. num_classes: classes of the fresh head that weights without one get. overwrite: replace what is there.
    architecture: timm's name of the convolutional network in a file that does not say it. trust_remote_code: allows a
    ModelScope folder's config.py to be run.
    """

    to: Target = "modelscope"
    labels: Path | None = None
    image_size: tuple[int, int] | None = None
    family: Family | None = None
    num_classes: int | None = None
    overwrite: bool = False
    architecture: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Converted:
    """What was done.

    names_origin: where the class names come from, in words. written: the target, read back; its weights are those of
    the source, bit for bit. proof: a comparison with the library that the source comes from, or that the target is for.
    differences: sentences on what the target does to pictures otherwise than the source.
    """

    source: Source
    written: Source
    class_names: tuple[str, ...] | None
    names_origin: str
    proof: Proof
    differences: tuple[str, ...] = ()


def convert(source_path: Path, target: Path, request: ConversionRequest) -> Converted:
    """Writes a checkpoint in another format, reads it back and returns the proof that it is the same.

    Raises CheckpointError, SettingsError or UntrustedCodeError for the source, ModelFolderError for the target and for
    class names that are missing or do not fit; then nothing was written.
    """
    target = target.expanduser().absolute()
    _check_target(target, request)
    labels = None if request.labels is None else read_labels(request.labels)
    num_classes = request.num_classes or (None if labels is None else len(labels))
    configuration = _configuration(source_path, request)
    source = open_source(
        source_path,
        family=request.family,
        image_size=request.image_size,
        num_classes=num_classes,
        configuration=configuration,
    )
    class_names, names_origin = _class_names(source, labels, request, num_classes)
    settings = replace(_folder_settings(source, configuration), class_names=class_names)
    # Before writing, which may replace the very file.
    proof = prove(source)
    differences = _write(target, settings, source, request)
    written = _read_back(source, target)
    if (confidence := _kept_confidence(source, configuration, request.to)) is not None:
        store_confidence(target, replace(confidence, weights=written.digest))
    if request.to != "modelscope":
        proof = prove(written)
    return Converted(source, written, class_names, names_origin, proof, differences)


def _check_target(target: Path, request: ConversionRequest) -> None:
    if request.to != "unilm":
        check_target(target, overwrite=request.overwrite and request.to == "modelscope")
    elif target.is_dir() or (target.exists() and not request.overwrite):
        what = "is a folder" if target.is_dir() else "exists"
        raise ModelFolderError(f"{target} {what}; give the name of a new file, e.g. {target.name}.pth.")


def _class_names(
    source: Source, labels: tuple[str, ...] | None, request: ConversionRequest, num_classes: int | None
) -> tuple[tuple[str, ...] | None, str]:
    """Returns the names and, in words, where they come from; no names only where the target does not need them."""
    count = source.settings.num_classes
    has_fresh_head = any(key.startswith(names.HEAD_PREFIX) for key in source.conversion.initialised)
    if has_fresh_head and num_classes is None:
        raise ModelFolderError(
            f"{source.path} has no classifier. For a fresh one, to be trained, say for which classes: "
            "--labels FILE with one name a line, or --num-classes N."
        )
    if labels is not None:
        check_label_count(labels, count, str(request.labels))
        return labels, f"{request.labels}"
    if source.class_names is not None:
        return source.class_names, "the source"
    if has_fresh_head:
        return tuple(f"class {number}" for number in range(count)), "numbers, since the head is fresh"
    if (known := known_labels(count)) is not None:
        return known, f"{'ImageNet-1k' if count == 1000 else 'ImageNet-22k'}, assumed because there are {count:,}"
    if request.to == "modelscope":
        raise ModelFolderError(
            f"{source.path} does not say what its {count} classes are called; give --labels FILE with one name a line."
        )
    return None, "nowhere"


def _configuration(source: Path, request: ConversionRequest) -> FolderSettings | None:
    """Returns what a ModelScope folder says of itself; None for anything else.

    Mirrors of transformers models have a configuration.json too, but no network in it.
    """
    if (source / names.MM_CONFIGURATION_FILE).is_file() and request.trust_remote_code:
        return read_folder_settings(source, trust_remote_code=True)
    if (source / CONFIG_FILE).is_file() or not (source / names.CONFIGURATION_FILE).is_file():
        return None
    return read_folder_settings(source)


def _folder_settings(source: Source, kept: FolderSettings | None) -> FolderSettings:
    """Returns the settings to write; the training recipe of a ModelScope folder is kept."""
    settings = FolderSettings(source.settings, source.preprocessing)
    if kept is None:
        return settings
    extra = dict(kept.extra)
    if kept.model.image_size != source.settings.image_size:
        # Its training crops have the old size; the defaults follow the new one.
        extra.pop("preprocessor", None)
    return replace(settings, pipeline=kept.pipeline, extra=extra)


def _write(target: Path, settings: FolderSettings, source: Source, request: ConversionRequest) -> tuple[str, ...]:
    """Writes the target and returns what it does otherwise."""
    if request.to == "unilm":
        target.parent.mkdir(parents=True, exist_ok=True)
        write_unilm(target, source.settings, source.tensors)
    elif request.to == "timm":
        write_timm(target, settings, source.tensors)
    elif request.to == "transformers":
        return write_transformers(target, settings, source.tensors)
    else:
        assert settings.class_names is not None, "a model folder gets class names or is refused"
        card = write_card(target.name, settings, settings.class_names, Origin(source.description, source.digest))
        write_model_folder(target, settings, source.tensors, card=card, overwrite=request.overwrite)
    return ()


def _kept_confidence(source: Source, kept: FolderSettings | None, to: Target) -> Confidence | None:
    """Returns what a calibrated folder says of its scores, if that is as true of the target."""
    if kept is None or (confidence := kept.confidence) is None:
        return None
    if confidence.weights != source.digest:
        why = "it is for other weights than the folder's"
    elif kept.model.image_size != source.settings.image_size:
        why = "pictures of another size give other scores"
    elif to != "modelscope":
        why = f"there is no place for it in what {to} reads"
    else:
        return confidence
    _logger.warning("Temperature and threshold of %s are not kept: %s.", source.path, why)
    return None


def _read_back(source: Source, target: Path) -> Source:
    """Opens what was written; raises CheckpointError unless it holds the very numbers that were to be written."""
    written = open_source(target)
    expected, found = source.tensors, written.tensors
    different = [
        key
        for key in sorted(expected.keys() | found.keys())
        if key not in expected or key not in found or not torch.equal(expected[key], found[key])
    ]
    if different:
        raise CheckpointError(
            f"{target} was written, but reading it back gives other numbers for {', '.join(different[:5])}. "
            "Check the disk, and do not use what was written."
        )
    return written
