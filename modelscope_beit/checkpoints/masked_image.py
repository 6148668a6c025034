"""Masked-image models of transformers -> ours, and back. torch only; nothing in a file is executed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from modelscope_beit.checkpoints.convert import Renamed, check_fit, from_native, rename
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.checkpoints.foreign_folders import CONFIG_FILE, MASKED_IMAGE_MODEL, read_transformers_folder
from modelscope_beit.checkpoints.image_processors import PROCESSOR_FILE, write_processor
from modelscope_beit.checkpoints.infer import Hints, infer_settings
from modelscope_beit.checkpoints.input_recipes import published_recipe
from modelscope_beit.checkpoints.key_tables import (
    TRANSFORMERS_BEIT_PRETRAINING,
    TRANSFORMERS_BEIT_PRETRAINING_MEMORY,
)
from modelscope_beit.checkpoints.load import as_float32
from modelscope_beit.checkpoints.recognise import recognise
from modelscope_beit.checkpoints.targets import transformers_beit_config, write_folder
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.masked_image_model import MaskedImageModel
from modelscope_beit.settings.masked_image_model import NUM_VISUAL_TOKENS, MaskedImageModelSettings
from modelscope_beit.settings.preprocessing import Step

_LAYOUTS = (TRANSFORMERS_BEIT_PRETRAINING, TRANSFORMERS_BEIT_PRETRAINING_MEMORY)
_SHARED_TABLE = "backbone.rel_pos_bias.relative_position_bias_table"
# The library's default, which all its published models have.
_LAYER_NORM_EPS = 1e-12


@dataclass(frozen=True)
class MaskedImageSource:
    """A masked-image model, opened.

    weights: the file, or the index of several. tensors: complete, under our names, float32. preprocessing: from a
    picture to the network's input. dropped: keys of the file that no network needs.
    """

    weights: Path
    settings: MaskedImageModelSettings
    tensors: dict[str, Tensor]
    preprocessing: tuple[Step, ...]
    dropped: tuple[str, ...]


def open_masked_image_source(path: str | os.PathLike[str]) -> MaskedImageSource:
    """Returns what a folder or weight file of transformers' BeitForMaskedImageModeling holds.

    Raises CheckpointError, naming the file, for what is missing or unknown, for weights of another network, and with
    three lists for keys that are missing, unexpected or wrongly shaped; UntrustedCodeError for pickles with code.
    """
    path = Path(path).expanduser()
    try:
        folder = read_transformers_folder(path) if path.is_dir() else None
        weights = path if folder is None else folder.weights
        file = read_weights(weights)
        renamed = rename(file.tensors, recognise(file.tensors))
        if renamed.layout not in _LAYOUTS:
            raise CheckpointError(
                f"Expected the weights of transformers' {MASKED_IMAGE_MODEL}, but these are of {renamed.layout.title}."
            )
        hints = Hints(layer_norm_eps=_LAYER_NORM_EPS) if folder is None else folder.hints
        settings = _settings(renamed, hints)
        tensors = _fitted(renamed, settings)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from error
    image_size = settings.backbone.image_size
    if folder is None:
        recipe = published_recipe("beit", renamed, infer_settings(renamed, hints), is_wrapped=False)
        return MaskedImageSource(weights, settings, tensors, recipe.steps(image_size), renamed.dropped)
    return MaskedImageSource(weights, settings, tensors, folder.recipe.steps(image_size), renamed.dropped)


def masked_image_model_with(settings: MaskedImageModelSettings, tensors: Mapping[str, Tensor]) -> MaskedImageModel:
    """Returns a network that uses these very tensors (our names, complete) as its weights; no copy is made."""
    with torch.device("meta"):
        network = MaskedImageModel(settings)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    return network


def write_masked_image_model(
    folder: str | Path, settings: MaskedImageModelSettings, tensors: Mapping[str, Tensor], steps: Sequence[Step]
) -> tuple[str, ...]:
    """Writes a folder that `BeitForMaskedImageModeling.from_pretrained(FOLDER)` of transformers opens.

    tensors: under our names. Returns in words what the processor does otherwise than our steps.
    Raises CheckpointError for a network or steps that transformers cannot express, and for a folder that is not empty.
    """
    config = transformers_beit_config(settings.backbone) | {
        "architectures": [MASKED_IMAGE_MODEL],
        "vocab_size": settings.num_visual_tokens,
        "use_mask_token": True,
        # There the backbone has no norm of its own then; the only one belongs to the head.
        "use_mean_pooling": True,
    }
    processor, differences = write_processor(steps, "BeitImageProcessor")
    theirs = from_native(tensors, TRANSFORMERS_BEIT_PRETRAINING)
    write_folder(Path(folder), theirs, {CONFIG_FILE: config, PROCESSOR_FILE: processor})
    return differences


def _settings(renamed: Renamed, hints: Hints) -> MaskedImageModelSettings:
    # What is inferred is the classifier that the file is a start for: mean-pooled, with a table in each block.
    backbone = infer_settings(renamed, hints).backbone
    if _SHARED_TABLE in renamed.tensors:
        backbone = replace(backbone, relative_position="shared")
    head = renamed.tensors.get("lm_head.weight")
    return MaskedImageModelSettings(
        replace(backbone, pooling="class_token"), NUM_VISUAL_TOKENS if head is None else head.shape[0]
    )


def _fitted(renamed: Renamed, settings: MaskedImageModelSettings) -> dict[str, Tensor]:
    with torch.device("meta"):
        expected = {key: tensor.shape for key, tensor in MaskedImageModel(settings).state_dict().items()}
    check_fit(renamed, renamed.tensors, expected, renamed.origins)
    return {key: as_float32(renamed.tensors[key]) for key in expected}
