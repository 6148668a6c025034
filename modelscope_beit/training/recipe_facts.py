"""Gathers what a recipe's rule has to know: the start weights, the data and the device. Nothing is chosen here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from modelscope_beit import names
from modelscope_beit.data.records import Records
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.networks import build_network
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.network.device import find_device
from modelscope_beit.recipe_rules.facts import DataFacts, DeviceFacts, Facts, StartFacts
from modelscope_beit.recipe_rules.lineage import find_lineage
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_steps import picture_size, write_preprocessing
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.recipe import Recipe
from modelscope_beit.training.acceleration import choose_precision
from modelscope_beit.training.estimate import estimate_memory

# Pictures whose sizes are looked at.
_SAMPLE = 32


def gather_facts(
    settings: FolderSettings,
    recipe: Recipe,
    weights: Path,
    class_names: Sequence[str] | None,
    train: Records | StreamedRecords,
    given: Mapping[str, object],
) -> Facts:
    """Returns the facts of a run that is being prepared.

    settings: of the model folder. recipe: as it stands before the rule; its device and precision count.
    weights, class_names: what training starts from. given: what the user has set.
    Raises SettingsError for a stream: rules go by the number of pictures.
    """
    if not isinstance(train, Records):
        raise SettingsError(
            f"{train.description} is a stream of unknown length, but a recipe's rule goes by the number of pictures. "
            "Give data with a length, or a recipe of your own."
        )
    start = _start_facts(settings, weights, class_names)
    return Facts(start, _data_facts(train), _device_facts(settings, recipe, start), given)


def _start_facts(settings: FolderSettings, weights: Path, class_names: Sequence[str] | None) -> StartFacts:
    model = settings.model
    num_classes = model.num_classes if class_names is None else len(class_names)
    card = weights.parent / names.CARD_FILE
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    # The lines of a card that say where its weights come from; the rest of it may mention anything.
    origins = [line for line in text.splitlines() if line.startswith(("| Source |", "| Fine-tuned from |"))]
    lineage, reason = find_lineage(num_classes, class_names, [*origins, weights.stem, weights.parent.name])
    backbone = model.backbone if isinstance(model, ModelSettings) else None
    return StartFacts(
        lineage=lineage,
        lineage_reason=reason,
        width=None if backbone is None else backbone.width,
        depth=None if backbone is None else backbone.depth,
        image_size=model.image_size,
        val_steps=tuple(write_preprocessing(settings.preprocessing)),
    )


def _data_facts(train: Records) -> DataFacts:
    counts = train.class_counts()
    counts = counts[counts > 0] if counts.any() else np.zeros(1, np.int64)
    return DataFacts(
        num_train=len(train),
        smallest=int(counts.min()),
        largest=int(counts.max()),
        is_multi_label=train.is_multi_label,
        picture_size=_middle_size(train),
        has_signs=all(len(name) == 1 and name.isalnum() for name in train.class_names),
    )


def _middle_size(train: Records) -> tuple[int, int] | None:
    """Returns the median (height, width) of some pictures; those that cannot be read are told by data.checks."""
    sizes = []
    for row in np.unique(np.linspace(0, len(train) - 1, min(_SAMPLE, len(train))).astype(np.int64)).tolist():
        try:
            sizes.append(read_image(train[row].image).size)
        except ImageError:
            continue
    if not sizes:
        return None
    width, height = np.median(np.array(sizes), axis=0)
    return round(float(height)), round(float(width))


def _device_facts(settings: FolderSettings, recipe: Recipe, start: StartFacts) -> DeviceFacts:
    device = find_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    model = settings.model
    size = picture_size(model.image_size, start.val_steps)
    network = build_classifier(model, device="meta") if isinstance(model, ModelSettings) else build_network(model)
    one, two = (
        estimate_memory(
            network,
            picture_size=size,
            batch_size=batch_size,
            precision=precision,
            on_cpu=device.type == "cpu",
            optimizer_tensors=2,
            has_average=False,
            keeps_gradients=True,
        ).peak
        for batch_size in (1, 2)
    )
    return DeviceFacts(
        name=torch.cuda.get_device_name(device) if device.type == "cuda" else f"the device {device.type}",
        num_processes=int(os.environ.get("WORLD_SIZE", "1")),
        precision=precision,
        free_bytes=_free_bytes(device),
        fixed_bytes=2 * one - two,
        bytes_per_picture=two - one,
        measured_size=size,
    )


def _free_bytes(device: torch.device) -> int | None:
    """Returns the memory that a process can use; on a processor, its share of what is free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # Windows and macOS do not tell.
    if device.type != "cpu" or "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
