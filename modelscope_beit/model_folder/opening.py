"""Opens a model folder: settings, network with its weights, class names, preprocessing. Never touches the network."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.checkpoints.files import WeightFile, file_digest, read_weights
from modelscope_beit.data.batches import PictureTransform
from modelscope_beit.errors import ModelFolderError, UntrustedCodeError
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.model_folder.label_files import check_label_count, read_labels
from modelscope_beit.model_folder.mm_configuration import run_mm_configuration
from modelscope_beit.model_folder.networks import evaluation_transform, load_network
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.network.device import find_device
from modelscope_beit.settings.confidence import Confidence
from modelscope_beit.settings.configuration import FolderSettings, read_configuration, unknown_keys

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedModel:
    """A model folder, ready to classify.

    network: in eval mode; images (N, 3, H, W), normalised -> logits (N, K). class_names: one for each of the K rows.
    transform: picture -> (3, H, W), as the network wants it. confidence: how its scores are to be read; None where the
    folder was not calibrated, or its weights are no longer those that it was calibrated with.
    """

    folder: Path
    settings: FolderSettings
    network: Classifier
    class_names: tuple[str, ...]
    transform: PictureTransform
    confidence: Confidence | None = None


def open_model(folder: str | Path, *, device: str = "cpu", trust_remote_code: bool = False) -> OpenedModel:
    """Returns the model that a folder holds.

    folder: also "embedded", the network that comes with the package. device: any name that network/device.py knows.
    trust_remote_code: allows a config.py to be executed; weights are only ever read as tensors and plain values.
    Raises ModelFolderError if something is missing or does not fit together, SettingsError for the configuration or
    the device, CheckpointError for the weights, UntrustedCodeError for code without trust.
    """
    found_device = find_device(device)
    folder = find_model_folder(folder)
    settings = read_folder_settings(folder, trust_remote_code=trust_remote_code)
    weights = find_weight_file(folder)
    class_names = find_class_names(folder, settings, read_weights(weights))
    network = load_network(settings.model, weights)
    return OpenedModel(
        folder=folder,
        settings=settings,
        network=network.to(found_device).eval(),
        class_names=class_names,
        transform=evaluation_transform(settings.preprocessing),
        confidence=confidence_for(settings, weights),
    )


def read_folder_settings(folder: Path, *, trust_remote_code: bool = False) -> FolderSettings:
    """Returns what the configuration of a folder says.

    A config.py goes before configuration.json, as in ModelScope's stock class.
    Raises UntrustedCodeError if there is a config.py and no trust, ModelFolderError if there is no configuration,
    SettingsError if it cannot be used.
    """
    code = folder / names.MM_CONFIGURATION_FILE
    if code.exists():
        if not trust_remote_code:
            raise UntrustedCodeError(_why_not_trusted(code))
        where = f"{code} (its model is model.mm_model here, its data.test.pipeline preprocessor.val)"
        return read_configuration(run_mm_configuration(code), where)
    file = folder / names.CONFIGURATION_FILE
    settings = read_configuration(_read_json(file), str(file))
    if unread := unknown_keys(settings):
        _logger.info("%s has keys that nothing here reads: %s", file, ", ".join(unread))
    return settings


def find_weight_file(folder: Path) -> Path:
    """Returns the weight file of a folder; raises ModelFolderError with the names that were looked for."""
    for name in names.WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    present = sorted(path.name for path in folder.iterdir() if path.is_file())
    raise ModelFolderError(
        f"There are no weights in {folder}: none of {', '.join(names.WEIGHT_FILES)} is there "
        f"(it holds {', '.join(present[:10]) or 'no file'}). Download the folder again, or copy the weights there."
    )


def confidence_for(settings: FolderSettings, weights: Path) -> Confidence | None:
    """Returns how scores are to be read with a weight file; None, with a warning, if that is for other weights."""
    confidence = settings.confidence
    # Folders that were not calibrated do not pay for the digest.
    if confidence is None or (digest := file_digest(weights)) == confidence.weights:
        return confidence
    _logger.warning(
        "%s was calibrated with other weights (%s, but %s has %s): temperature and threshold are not applied. "
        "Calibrate it again: %s calibrate %s DATA",
        *(weights.parent, confidence.weights, weights.name, digest, names.COMMAND, weights.parent),
    )
    return None


def find_class_names(folder: Path, settings: FolderSettings, weights: WeightFile) -> tuple[str, ...]:
    """Returns the class names: of the weight file, else of dataset.classes, else of classname.txt.

    Raises ModelFolderError if there are none, or another number than the head has classes.
    """
    num_classes = settings.model.num_classes
    in_weights = weights.meta.get("CLASSES")
    if isinstance(in_weights, list | tuple) and in_weights:
        class_names = tuple(str(name) for name in in_weights)
        check_label_count(class_names, num_classes, f"{weights.path} (meta.CLASSES)")
        return class_names
    if settings.class_names is not None:
        check_label_count(settings.class_names, num_classes, f"dataset.classes in {folder / names.CONFIGURATION_FILE}")
        return settings.class_names
    for name in (settings.class_names_file, names.CLASS_NAMES_FILE):
        if name is not None and (folder / name).is_file():
            return read_labels(folder / name, num_classes=num_classes)
    named = f" (dataset.classes names {settings.class_names_file}, which is not there)"
    raise ModelFolderError(
        f"{folder} does not say what its {num_classes} classes are called"
        f"{named if settings.class_names_file else ''}. Add {names.CLASS_NAMES_FILE} with one name a line, or a list "
        f"under dataset.classes in {names.CONFIGURATION_FILE}."
    )


def _read_json(file: Path) -> Mapping[str, object]:
    try:
        content: Mapping[str, object] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"{file.parent} is not a model folder: it has no {file.name}. If it holds weights of another library, "
            f"make one with: {names.COMMAND} convert {file.parent} FOLDER"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{file} must be a JSON file, but it cannot be read as one: {error}") from error
    return content


def _why_not_trusted(code: Path) -> str:
    other = code.with_name(names.CONFIGURATION_FILE)
    try:
        model = _read_json(other).get("model")
    except (ModelFolderError, AttributeError):
        model = None
    describes_network = isinstance(model, Mapping) and "mm_model" in model
    without = (
        f"Without that file {other.name} alone is used."
        if describes_network
        else f"{other.name} does not describe the network, so it cannot be opened without it."
    )
    return (
        f"{code} is Python code, and opening the folder would run it. Read it; if you trust it, pass "
        f"trust_remote_code=True (with {names.COMMAND} predict: --trust-remote-code). {without}"
    )
