"""Masked-image models in the layout of unilm's released files, read and written strictly. torch only.

Source: unilm/beit2 modeling_pretrain.py and utils.py. Only the backbone's names differ from ours, by a prefix.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from modelscope_beit.checkpoints.convert import rename
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.checkpoints.infer import infer_settings
from modelscope_beit.checkpoints.key_tables import UNILM_PRETRAINING
from modelscope_beit.checkpoints.load import as_float32
from modelscope_beit.errors import CheckpointError
from modelscope_beit.names import BACKBONE_PREFIX
from modelscope_beit.network.relative_position import relative_position_index
from modelscope_beit.pretraining.masked_model import MaskedPretrainingModel
from modelscope_beit.settings.masked_configuration import masked_settings_from, write_masked_settings
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings, early_layer_of

# What is not in the backbone, and so has one name in both.
_OWN = ("mask_token", "lm_head.", "cls_pt_layers.")
_INDEX = "rel_pos_bias.relative_position_index"
# Below `meta` of a file that we wrote.
_SETTINGS = "masked"
_NUM_KEYS_SHOWN = 12


def to_unilm(network: MaskedPretrainingModel) -> dict[str, Tensor]:
    """Returns all weights under unilm's names, with the index of relative positions that it saves beside the table."""
    tensors = {key.removeprefix(BACKBONE_PREFIX): tensor for key, tensor in network.state_dict().items()}
    if network.backbone.rel_pos_bias is not None:
        tensors[_INDEX] = relative_position_index(*network.pretraining.model.backbone.grid)
    return tensors


def masked_content(network: MaskedPretrainingModel) -> dict[str, object]:
    """Returns what a file of the network holds: `model`, as unilm's has, and a `meta` with what weights do not tell."""
    tensors = {key: tensor.detach().cpu().clone() for key, tensor in to_unilm(network).items()}
    return {"model": tensors, "meta": {_SETTINGS: write_masked_settings(network.pretraining)}}


def from_unilm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights of unilm's names under ours, without the index of relative positions, which is computed."""
    kept = {key: tensor for key, tensor in tensors.items() if not key.endswith("relative_position_index")}
    return {key if key.startswith(_OWN) else BACKBONE_PREFIX + key: tensor for key, tensor in kept.items()}


def open_masked_model(
    path: str | os.PathLike[str], settings: MaskedPretrainingSettings | None = None
) -> MaskedPretrainingModel:
    """Returns the network of a file of masked image modelling, by unilm or by us, with its weights, float32.

    settings: None: what the file says, if it is ours; else what the weights tell, with the published early layer (three
    blocks before the last), masks and views. Raises CheckpointError, naming the file, for one that is missing or of
    something else, and with three lists (missing, unexpected, wrongly shaped) for weights that do not fit the settings.
    """
    file = read_weights(path)
    try:
        own = file.meta.get(_SETTINGS)
        if settings is None:
            settings = masked_settings_from(own, str(path)) if isinstance(own, Mapping) else settings_of(file.tensors)
        return masked_model_with(settings, from_unilm(file.tensors))
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from error


def settings_of(tensors: Mapping[str, Tensor]) -> MaskedPretrainingSettings:
    """Returns the settings of a network with these weights, of unilm's names; what they do not tell is as published.

    Raises CheckpointError for weights of something else.
    """
    missing = [key for key in ("mask_token", "lm_head.weight", "norm.weight") if key not in tensors]
    if missing:
        raise CheckpointError(
            f"Expected the weights of a masked-image model of unilm or of ours, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not among the {len(tensors)} keys."
        )
    backbone = infer_settings(rename(tensors, UNILM_PRETRAINING)).backbone
    is_shared = "rel_pos_bias.relative_position_bias_table" in tensors
    backbone = replace(backbone, relative_position="shared" if is_shared else "none", pooling="class_token")
    extra = {key.split(".")[1] for key in tensors if key.startswith("cls_pt_layers.")}
    return MaskedPretrainingSettings(
        MaskedImageModelSettings(backbone, len(tensors["lm_head.weight"])),
        early_layer=early_layer_of(backbone.depth),
        head_layers=len(extra),
    )


def masked_model_with(settings: MaskedPretrainingSettings, tensors: Mapping[str, Tensor]) -> MaskedPretrainingModel:
    """Returns a network with these weights (our names), each a copy in float32.

    Raises CheckpointError with three lists (missing, unexpected, wrongly shaped) unless they fit exactly.
    """
    with torch.device("meta"):
        network = MaskedPretrainingModel(settings)
    expected = network.state_dict()
    lists = {
        "missing": [key for key in expected if key not in tensors],
        "unexpected": [key for key in tensors if key not in expected],
        "wrongly shaped": [
            f"{key} is {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
            for key, value in expected.items()
            if key in tensors and tensors[key].shape != value.shape
        ],
    }
    if any(lists.values()):
        told = "".join(f"\n- {name}: {_listed(keys)}" for name, keys in lists.items())
        raise CheckpointError(f"The weights do not fit the network of masked image modelling:{told}")
    own = {key: as_float32(tensors[key]).clone() for key in expected}
    # The index of relative positions is in no file.
    network = MaskedPretrainingModel(settings)
    network.load_state_dict(own, strict=True, assign=True)
    return network


def _listed(keys: list[str]) -> str:
    more = len(keys) - _NUM_KEYS_SHOWN
    return (", ".join(keys[:_NUM_KEYS_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
