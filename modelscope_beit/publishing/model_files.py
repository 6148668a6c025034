"""Configuration, weights and class names of a model, as a hub is to hold them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest, read_weights
from modelscope_beit.checkpoints.source import open_source
from modelscope_beit.checkpoints.targets import write_transformers
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.label_files import write_labels
from modelscope_beit.model_folder.opening import find_class_names, find_weight_file, read_folder_settings
from modelscope_beit.model_folder.writing import write_model_folder
from modelscope_beit.publishing.local_paths import is_local_path, without_local_paths
from modelscope_beit.publishing.self_contained import ALLOW_REMOTE, CODE_KEYS, add_wrapper, extra_for
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.model import ModelSettings

TRANSFORMERS_WEIGHTS = "model.safetensors"
# Where a run has written; nobody else can know the place.
_PLACES_OF_A_RUN = ("work_dir", "model_dir")


@dataclass(frozen=True)
class ModelFiles:
    """What a folder holds of a model.

    settings: as they were read from the source, with the class names. num_parameters: numbers in its tensors.
    source_digest: of the source's weight file. weights: name of the published one.
    differences: sentences on what the published format does to pictures otherwise than the source.
    """

    settings: FolderSettings
    class_names: tuple[str, ...]
    num_parameters: int
    source_digest: str
    weights: str
    differences: tuple[str, ...] = ()


def write_modelscope_files(
    model: Path, folder: Path, *, self_contained: bool, trust_remote_code: bool = False
) -> ModelFiles:
    """Writes a folder that ModelScope's pipeline() opens, into a new or empty one.

    Local paths in the configuration are shortened to their last part, and requests for code in it are left out.
    self_contained: with the wrapper of self_contained.py. Raises BeitError if the model cannot be opened or written.
    """
    found, tensors = _read(model, trust_remote_code=trust_remote_code)
    extra = {name: _portable(value) for name, value in found.settings.extra.items() if name not in CODE_KEYS}
    extra = {name: _without_places(value) for name, value in extra.items() if name not in _PLACES_OF_A_RUN}
    settings = replace(found.settings, class_names=found.class_names, class_names_file=None, extra=extra)
    # The card is written last, when everything in it is known.
    write_model_folder(folder, settings, tensors, card="")
    configuration_file = folder / names.CONFIGURATION_FILE
    configuration = json.loads(configuration_file.read_text(encoding="utf-8"))
    if settings.confidence is not None and settings.confidence.weights == found.source_digest:
        # It names the file that it was fitted to; the same numbers are in another file now.
        configuration["confidence"]["weights"] = file_digest(folder / names.WRITTEN_WEIGHT_FILE)
    if self_contained:
        configuration[ALLOW_REMOTE] = True
        add_wrapper(folder, extra_for(settings))
    text = json.dumps(configuration, indent=2, ensure_ascii=False) + "\n"
    configuration_file.write_text(text, encoding="utf-8")
    return found


def write_transformers_files(model: Path, folder: Path, *, trust_remote_code: bool = False) -> ModelFiles:
    """Writes a folder that pipeline("image-classification") of transformers opens, into a new or empty one.

    Raises SettingsError or CheckpointError for a network or steps that transformers cannot express.
    """
    found, tensors = _read(model, trust_remote_code=trust_remote_code)
    if not isinstance(found.settings.model, ModelSettings):
        raise SettingsError(
            f"The network of {model} is built by timm or mmcls, so it cannot be written for transformers; publish it "
            f"to modelscope:..., which opens it with {names.DISTRIBUTION}."
        )
    settings = replace(found.settings, class_names=found.class_names)
    differences = write_transformers(folder, settings, tensors)
    write_labels(found.class_names, folder / names.CLASS_NAMES_FILE)
    return replace(found, weights=TRANSFORMERS_WEIGHTS, differences=differences)


def _read(model: Path, *, trust_remote_code: bool) -> tuple[ModelFiles, Mapping[str, Tensor]]:
    settings = read_folder_settings(model, trust_remote_code=trust_remote_code)
    weights = read_weights(find_weight_file(model))
    class_names = find_class_names(model, settings, weights)
    tensors: Mapping[str, Tensor] = weights.tensors
    if isinstance(settings.model, ModelSettings):
        tensors = open_source(model, configuration=settings).tensors
    num_parameters = sum(tensor.numel() for tensor in tensors.values())
    digest = file_digest(weights.path)
    return ModelFiles(settings, class_names, num_parameters, digest, names.WRITTEN_WEIGHT_FILE), tensors


def _portable(value: object) -> object:
    """Returns a deep copy in which every text that is nothing but a local path is its last part."""
    if isinstance(value, Mapping):
        return {name: _portable(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_portable(child) for child in value]
    return without_local_paths(value) if isinstance(value, str) and is_local_path(value) else value


def _without_places(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: child for name, child in value.items() if name not in _PLACES_OF_A_RUN}
    return value
