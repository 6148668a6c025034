"""From a checkpoint of a convolutional network of timm to a model folder, or to a folder of timm, with a proof."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from modelscope_beit.checkpoints.files import file_digest, read_weights
from modelscope_beit.checkpoints.proof import Proof
from modelscope_beit.checkpoints.source import read_folder_configuration
from modelscope_beit.checkpoints.timm_files import TimmFile, read_timm_file
from modelscope_beit.checkpoints.timm_networks import TimmSource, open_timm_source, prove_timm
from modelscope_beit.checkpoints.timm_targets import write_timm_network
from modelscope_beit.errors import CheckpointError, ModelFolderError, SettingsError
from modelscope_beit.model_folder.card import Origin, architecture_in_words, write_card
from modelscope_beit.model_folder.conversion import ConversionRequest
from modelscope_beit.model_folder.label_files import check_label_count, known_labels, read_labels
from modelscope_beit.model_folder.opening import find_class_names, find_weight_file
from modelscope_beit.model_folder.writing import check_target, write_model_folder
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_models import TimmModelSettings


@dataclass(frozen=True)
class TimmConverted:
    """What was done.

    weights: what was written. origin: the source. names_origin: where the class names come from, in words.
    proof: a comparison of ours with timm's own network.
    """

    folder: Path
    weights: Path
    origin: Origin
    settings: FolderSettings
    names_origin: str
    proof: Proof

    def in_words(self) -> dict[str, str]:
        """Returns heading -> text, in the order in which a person reads it, without the comparison."""
        proof = self.proof
        return {
            "source": self.origin.description,
            "digest": self.origin.digest,
            "keys": f"{proof.num_mapped} mapped, {len(proof.initialised)} fresh",
            "network": architecture_in_words(self.settings.model),
            "classes": f"{self.settings.model.num_classes:,}, names from {self.names_origin}",
            "read back": f"{proof.num_mapped + len(proof.initialised)} tensors, bit for bit what was to be written",
            "written": f"{self.weights.name}, {file_digest(self.weights)}",
        }


def timm_source(path: Path, architecture: str | None = None) -> TimmFile | FolderSettings | None:
    """Tells whether a path holds a convolutional network of timm, in a file or folder of timm or in a model folder.

    architecture: timm's name for a file that does not say what it is. Raises BeitError for what cannot be read.
    """
    settings = read_folder_configuration(path)
    if settings is None:
        return read_timm_file(path, architecture)
    return settings if isinstance(settings.model, TimmModelSettings) else None


def convert_timm(
    source_path: Path, source: TimmFile | FolderSettings, target: Path, request: ConversionRequest
) -> TimmConverted:
    """Writes a network of timm as a model folder or, with `to="timm"`, as timm's, and reads it back.

    source: what timm_source found at the path.
    Raises SettingsError for what cannot be asked for here, CheckpointError for a source that cannot be expressed,
    ModelFolderError for the target and for class names that are missing; then nothing was written.
    """
    target = target.expanduser().absolute()
    _check_request(source_path, source, request)
    check_target(target, overwrite=request.overwrite and request.to == "modelscope")
    labels = None if request.labels is None else read_labels(request.labels)
    if isinstance(source, FolderSettings):
        ready = _ready_model_folder(source_path, source, labels, request)
    else:
        ready = _ready_timm_file(source, labels, request)
    settings, tensors, origin = ready.settings, ready.tensors, ready.origin
    if request.to == "timm":
        write_timm_network(target, settings, tensors)
        written = read_timm_file(target)
        assert written is not None, "a folder of timm was written"
        reopened = open_timm_source(written, num_classes=settings.model.num_classes)
        proof, weights, found = prove_timm(reopened), reopened.weights, reopened.tensors
    else:
        assert settings.class_names is not None and ready.proof is not None, "as _class_names and _check_request see to"
        card = write_card(target.name, settings, settings.class_names, origin)
        write_model_folder(target, settings, tensors, card=card, overwrite=request.overwrite)
        weights = find_weight_file(target)
        proof, found = ready.proof, read_weights(weights).tensors
    _check_written(target, tensors, found)
    return TimmConverted(target, weights, origin, settings, ready.names_origin, proof)


@dataclass(frozen=True)
class _Ready:
    """What is to be written. proof: None where only what was written can be compared."""

    settings: FolderSettings
    tensors: dict[str, Tensor]
    origin: Origin
    names_origin: str
    proof: Proof | None


def _ready_timm_file(source: TimmFile, labels: tuple[str, ...] | None, request: ConversionRequest) -> _Ready:
    num_classes = request.num_classes or (None if labels is None else len(labels))
    opened = open_timm_source(source, image_size=request.image_size, num_classes=num_classes)
    class_names, names_origin = _class_names(opened, labels, num_classes)
    # Before writing, which may replace the very file; and a network that is something else must not be written.
    proof = prove_timm(opened)
    settings = FolderSettings(opened.settings, opened.preprocessing, class_names)
    return _Ready(settings, opened.tensors, Origin(opened.description, opened.digest), names_origin, proof)


def _ready_model_folder(
    folder: Path, settings: FolderSettings, labels: tuple[str, ...] | None, request: ConversionRequest
) -> _Ready:
    file = read_weights(find_weight_file(folder))
    class_names, names_origin = labels or find_class_names(folder, settings, file), str(request.labels or "the source")
    check_label_count(class_names, settings.model.num_classes, names_origin)
    origin = Origin(f"{file.path.name}: ModelScope folder", file_digest(file.path))
    return _Ready(replace(settings, class_names=class_names), file.tensors, origin, names_origin, None)


def _check_request(path: Path, source: TimmFile | FolderSettings, request: ConversionRequest) -> None:
    is_folder = isinstance(source, FolderSettings)
    targets = ("timm",) if is_folder else ("modelscope", "timm")
    asked: dict[str, object] = {"family": request.family}
    if is_folder:
        asked |= {"size": request.image_size, "num-classes": request.num_classes, "arch": request.architecture}
    refused = [f"--{name}" for name, value in asked.items() if value is not None]
    if request.to not in targets:
        refused.insert(0, f"--to {request.to}")
    if refused:
        what = "is a model folder whose network timm builds; it can be written" if is_folder else "is written"
        raise SettingsError(
            f"{path} {what} with --to {' or '.join(targets)}; {', '.join(refused)} cannot be used with it."
        )


def _class_names(
    source: TimmSource, labels: tuple[str, ...] | None, num_classes: int | None
) -> tuple[tuple[str, ...], str]:
    """Returns the names and, in words, where they come from."""
    count = source.settings.num_classes
    if source.initialised and num_classes is None:
        raise ModelFolderError(
            f"{source.weights} has no classifier. For a fresh one, to be trained, say for which classes: "
            "--labels FILE with one name a line, or --num-classes N."
        )
    if labels is not None:
        check_label_count(labels, count, "--labels")
        return labels, "--labels"
    if source.class_names is not None:
        return source.class_names, "the source"
    if source.initialised:
        return tuple(f"class {number}" for number in range(count)), "numbers, since the head is fresh"
    if (known := known_labels(count)) is not None:
        return known, f"{'ImageNet-1k' if count == 1000 else 'ImageNet-22k'}, assumed because there are {count:,}"
    raise ModelFolderError(
        f"{source.weights} does not say what its {count} classes are called; give --labels FILE with one name a line."
    )


def _check_written(target: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError unless the very numbers that were to be written are there."""
    different = [key for key, tensor in expected.items() if key not in found or not torch.equal(tensor, found[key])]
    if different:
        raise CheckpointError(
            f"{target} was written, but reading it back gives other numbers for {', '.join(different[:5])}. "
            "Check the disk, and do not use what was written."
        )
