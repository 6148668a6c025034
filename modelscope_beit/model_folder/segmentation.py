"""Opens a folder for semantic segmentation: network with its weights, class names, preprocessing. Offline."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelscope_beit import names
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.checkpoints.segmentation import is_transformers_segmentation, segmentation_network_with
from modelscope_beit.errors import ModelFolderError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.model_folder.card import backbone_in_words
from modelscope_beit.network.segmentation import SegmentationNetwork
from modelscope_beit.settings.segmentation import (
    SegmentationFolderSettings,
    SegmentationSettings,
    is_segmentation_configuration,
    read_segmentation_configuration,
)

SegmentationKind = Literal["modelscope", "transformers"]


@dataclass(frozen=True)
class OpenedSegmentation:
    """A folder for semantic segmentation, ready to be used.

    network: in eval mode, on the processor; images (N, 3, H, W), normalised -> logits (N, K, rows, columns).
    transform: picture -> (3, H, W), as the network wants it.
    """

    folder: Path
    settings: SegmentationFolderSettings
    network: SegmentationNetwork
    transform: EvaluationTransform


def segmentation_kind(path: Path) -> SegmentationKind | None:
    """Tells whether a path is a folder for semantic segmentation, written by us or by transformers; None: it is not."""
    if _is_written_by_us(path):
        return "modelscope"
    return "transformers" if is_transformers_segmentation(path) else None


def open_segmentation(folder: Path) -> OpenedSegmentation:
    """Returns what a folder that `beit convert` wrote holds.

    Raises ModelFolderError or SettingsError for a configuration that is missing or unusable, CheckpointError with three
    lists of keys for weights that are not those of the network.
    """
    settings = read_segmentation_settings(folder)
    weights = folder / names.SEGMENTATION_WEIGHT_FILE
    network = segmentation_network_with(settings.model, read_weights(weights).tensors, str(weights))
    return OpenedSegmentation(folder, settings, network, EvaluationTransform(settings.preprocessing))


def read_segmentation_settings(folder: Path) -> SegmentationFolderSettings:
    """Returns what the configuration.json of a folder says.

    Raises ModelFolderError if it is not there or is of another kind, SettingsError if it cannot be used.
    """
    file = folder / names.CONFIGURATION_FILE
    if not _is_written_by_us(folder):
        convert = f"{names.COMMAND} convert {folder} FOLDER"
        advice = f"Make one with: {convert}" if is_transformers_segmentation(folder) else ""
        raise ModelFolderError(
            f"{folder} is no folder for semantic segmentation: a {file.name} whose model.type is "
            f"{names.SEGMENTATION!r} is expected there. {advice}".rstrip()
        )
    return read_segmentation_configuration(json.loads(file.read_text(encoding="utf-8")), str(file))


def segmentation_in_words(settings: SegmentationSettings) -> str:
    """Returns one line about a network for semantic segmentation."""
    blocks = ", ".join(map(str, settings.feature_blocks))
    return (
        f"{backbone_in_words(settings.backbone)}, UPerNet head of {settings.channels} channels on blocks {blocks} "
        f"(from 0; -1 is what enters the first)"
    )


def _is_written_by_us(path: Path) -> bool:
    try:
        configuration = json.loads((path / names.CONFIGURATION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return is_segmentation_configuration(configuration)
