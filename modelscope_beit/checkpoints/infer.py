"""Tells from the weights what network they are of. Shapes only; a configuration beside them can say more."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from modelscope_beit.checkpoints.convert import Renamed
from modelscope_beit.checkpoints.recognise import without_block_number
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.relative_position import NUM_CLASS_TOKEN_ROWS, num_table_rows
from modelscope_beit.settings.model import (
    ARCHITECTURES,
    BackboneSettings,
    ModelSettings,
    Pooling,
    QkvBias,
    RelativePosition,
)

_FIRST_BLOCK = "backbone.blocks.0."
_SHARED_TABLE = "backbone.rel_pos_bias.relative_position_bias_table"
_DISTILLATION_TOKEN = "backbone.dist_token"
_LAYER_TABLE = _FIRST_BLOCK + "attn.relative_position_bias_table"
# The grid of a network without any positions cannot be seen in its weights.
_DEFAULT_SIDE_PIXELS = 224
_USUAL_HEAD_CHANNELS = 64
# (width, depth) -> heads of published sizes whose heads do not have 64 channels. The last is mmcls's "small".
_HEADS = {(size.width, size.depth): size.num_heads for size in ARCHITECTURES.values()} | {(768, 8): 8}


@dataclass(frozen=True)
class Hints:
    """What a configuration beside the weights says, and the weights alone do not; None where it is silent.

    grid: (rows, columns) of patches; needed only where it is not square.
    """

    num_heads: int | None = None
    grid: tuple[int, int] | None = None
    num_classes: int | None = None
    layer_norm_eps: float | None = None
    pooling: Pooling | None = None


def infer_settings(renamed: Renamed, hints: Hints | None = None) -> ModelSettings:
    """Returns the settings of the network that the weights are of.

    Heads come from the relative-position table, else the hints, else the published size of this width and depth,
    else there are 64 channels to each. A file without a head gets the hinted number of classes, else 1000. The
    weights do not tell what layer scale began with; it is the published one.
    Raises CheckpointError for weights that contradict each other or the hints.
    """
    hints = hints or Hints()
    tensors = renamed.tensors
    projection = _needed(renamed, "backbone.patch_embed.proj.weight")
    if projection.ndim != 4 or projection.shape[2] != projection.shape[3]:
        raise CheckpointError(f"Expected square patches, got a projection of shape {tuple(projection.shape)}.")
    width, depth, patch = projection.shape[0], _depth(tensors), projection.shape[-1]
    rows, columns = infer_grid(renamed, patch, hints.grid)
    head, hidden = tensors.get("head.fc.weight"), tensors.get("head.pre_logits.weight")
    backbone = BackboneSettings(
        image_size=(rows * patch, columns * patch),
        patch_size=patch,
        in_channels=projection.shape[1],
        width=width,
        depth=depth,
        num_heads=_num_heads(renamed, width, depth, hints.num_heads),
        mlp_hidden=_needed(renamed, _FIRST_BLOCK + "mlp.fc1.weight").shape[0],
        qkv_bias=_qkv_bias(tensors),
        relative_position=_relative_position(renamed),
        absolute_position="backbone.pos_embed" in tensors,
        layer_scale_init=(0.1 if depth <= 12 else 1e-5) if _FIRST_BLOCK + "gamma_1" in tensors else None,
        pooling=_pooling(renamed, hints.pooling),
        distilled=_DISTILLATION_TOKEN in tensors,
        layer_norm_eps=1e-6 if hints.layer_norm_eps is None else hints.layer_norm_eps,
    )
    return ModelSettings(
        backbone,
        (hints.num_classes or 1000) if head is None else head.shape[0],
        hidden_width=None if hidden is None else hidden.shape[0],
    )


def infer_grid(renamed: Renamed, patch_size: int, grid: tuple[int, int] | None = None) -> tuple[int, int]:
    """Returns the (rows, columns) of patches that the position weights are made for.

    grid: taken if the number of positions agrees with it; otherwise the grid has to be square.
    Raises CheckpointError if it is neither.
    """
    table = renamed.tensors.get(_LAYER_TABLE, renamed.tensors.get(_SHARED_TABLE))
    embedding = renamed.tensors.get("backbone.pos_embed")
    if table is not None:
        positions, what = table.shape[0], "rows of the relative-position table"
        side = (math.isqrt(max(positions - NUM_CLASS_TOKEN_ROWS, 0)) + 1) // 2
        if grid and num_table_rows(*grid) == positions:
            return grid
        if side and num_table_rows(side, side) == positions:
            return side, side
    elif embedding is not None:
        positions, what = embedding.shape[1], "positions of pos_embed"
        num_patches = positions - (2 if _DISTILLATION_TOKEN in renamed.tensors else 1)
        side = math.isqrt(max(num_patches, 0))
        if grid and grid[0] * grid[1] == num_patches:
            return grid
        if side and side * side == num_patches:
            return side, side
    else:
        return grid or (_DEFAULT_SIDE_PIXELS // patch_size, _DEFAULT_SIDE_PIXELS // patch_size)
    told = f" nor of the grid {grid[0]}x{grid[1]}" if grid else ""
    raise CheckpointError(
        f"The {positions} {what} are not those of a square grid of patches and the tokens before them{told}; "
        f"give the model folder with its configuration instead of the file alone."
    )


def _depth(tensors: Iterable[str]) -> int:
    numbers = {without_block_number(key)[1] for key in tensors if key.startswith("backbone.blocks.")}
    return 1 + max((int(number) for number in numbers if number is not None), default=-1)


def _num_heads(renamed: Renamed, width: int, depth: int, hinted: int | None) -> int:
    table = renamed.tensors.get(_LAYER_TABLE, renamed.tensors.get(_SHARED_TABLE))
    if table is not None:
        if hinted is not None and hinted != table.shape[1]:
            raise CheckpointError(
                f"The configuration says {hinted} heads, but the relative-position table has {table.shape[1]}."
            )
        return table.shape[1]
    known = hinted or _HEADS.get((width, depth))
    if known is None and width % _USUAL_HEAD_CHANNELS:
        raise CheckpointError(
            f"The weights do not tell how many attention heads a network of width {width} and depth {depth} has; "
            f"give the model folder with its configuration instead of the file alone."
        )
    return known or width // _USUAL_HEAD_CHANNELS


def _qkv_bias(tensors: Iterable[str]) -> QkvBias:
    if _FIRST_BLOCK + "attn.q_bias" in tensors:
        return "qv"
    return "full" if _FIRST_BLOCK + "attn.qkv.bias" in tensors else "none"


def _relative_position(renamed: Renamed) -> RelativePosition:
    """Returns the kind of table; a masked-image model's shared one is copied to every block of a classifier."""
    if _LAYER_TABLE in renamed.tensors:
        return "per_layer"
    if _SHARED_TABLE not in renamed.tensors:
        return "none"
    return "per_layer" if renamed.layout.pretraining else "shared"


def _pooling(renamed: Renamed, hinted: Pooling | None) -> Pooling:
    """Returns the hinted pooling, else "class_token" for a final norm; a masked-image model's one is left behind.

    A distilled network has a head for each of its two tokens, unless its file holds one only.
    """
    if _DISTILLATION_TOKEN in renamed.tensors:
        has_one_head = "head.fc.weight" in renamed.tensors and "head.fc_dist.weight" not in renamed.tensors
        return "class_token" if has_one_head else "two_tokens"
    if hinted is not None:
        return hinted
    has_final_norm = "backbone.norm.weight" in renamed.tensors and not renamed.layout.pretraining
    return "class_token" if has_final_norm and "backbone.fc_norm.weight" not in renamed.tensors else "mean"


def _needed(renamed: Renamed, key: str) -> Tensor:
    if key not in renamed.tensors:
        raise CheckpointError(f"The weights, recognised as {renamed.layout.title}, lack what we call {key}.")
    return renamed.tensors[key]
