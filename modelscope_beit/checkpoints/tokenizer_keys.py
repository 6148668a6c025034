"""How unilm names the weights of the tokenizer (VQ-KD) in its released files, and ours. torch only.

Source: unilm/beit2 modeling_vqkd.py and norm_ema_quantizer.py. Encoder, decoder and task layers have the same names in
both; the codebook's are others, and two of unilm's are never used after its first step.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modelscope_beit.errors import CheckpointError

# Theirs -> ours, of what counts.
_CODEBOOK = {
    "quantize.embedding.weight": "codebook.codes",
    "quantize.cluster_size": "codebook.usage",
    "quantize.embedding.initted": "codebook.is_started",
}
_STATISTICS = ("quantize.embedding.embed_avg", "quantize.embedding.cluster_size")
# What a training checkpoint of unilm holds besides: the teacher, and how pictures are scaled for it.
_DROPPED = ("loss", "teacher", "scaling")
# Ours alone: what revival counts.
_OWN = ("codebook.idle", "codebook.steps")
_BLOCK = re.compile(r"\.blocks\.(\d+)\.")
_USUAL_HEAD_CHANNELS = 64


@dataclass(frozen=True)
class TokenizerShape:
    """Sizes that the weights of a tokenizer tell. image_size: (height, width) of a square grid, in pixels.

    num_heads: with 64 channels each, as in all released files; the weights themselves do not tell.
    """

    image_size: tuple[int, int]
    patch_size: int
    width: int
    num_heads: int
    mlp_hidden: int
    encoder_depth: int
    decoder_depth: int
    target_width: int
    num_codes: int
    code_width: int


def from_unilm_tokenizer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of a file of unilm under our names; a teacher in it and unused statistics are left out.

    Raises CheckpointError that lists the codebook's keys that are missing.
    """
    kept = {key: tensor for key, tensor in tensors.items() if not key.startswith((*_DROPPED, *_STATISTICS))}
    if missing := sorted(_CODEBOOK.keys() - kept.keys()):
        raise CheckpointError(f"Expected a tokenizer of BEiT v2 (VQ-KD), but its codebook lacks {', '.join(missing)}.")
    ours = {_CODEBOOK.get(key, key): tensor for key, tensor in kept.items()}
    codes = ours["codebook.codes"]
    started = bool(ours["codebook.is_started"].reshape(-1)[0])
    return ours | {
        "codebook.is_started": torch.tensor(started),
        "codebook.idle": torch.zeros(len(codes), dtype=torch.int64),
        "codebook.steps": torch.zeros((), dtype=torch.int64),
    }


def to_unilm_tokenizer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns our weights under the names, and with all the keys, of unilm's files."""
    theirs = {ours: name for name, ours in _CODEBOOK.items()}
    renamed = {theirs.get(key, key): tensor for key, tensor in tensors.items() if key not in _OWN}
    codes = tensors["codebook.codes"]
    return renamed | {
        "quantize.embedding.initted": tensors["codebook.is_started"].reshape(1).to(torch.float32),
        "quantize.embedding.embed_avg": codes.clone(),
        "quantize.embedding.cluster_size": torch.zeros_like(tensors["codebook.usage"]),
    }


def tokenizer_shape(tensors: Mapping[str, Tensor]) -> TokenizerShape:
    """Returns the sizes of the tokenizer that weights under our names are of.

    Raises CheckpointError if there is something else, or a grid that is not square.
    """
    try:
        projection, positions = tensors["encoder.patch_embed.proj.weight"], tensors["encoder.pos_embed"]
        hidden, target = tensors["encoder.blocks.0.mlp.fc1.weight"], tensors["decode_task_layer.2.weight"]
        codes = tensors["codebook.codes"]
    except KeyError as error:
        raise CheckpointError(f"Expected a tokenizer of BEiT v2 (VQ-KD), but it lacks {error.args[0]}.") from error
    patch, side = projection.shape[-1], round((positions.shape[1] - 1) ** 0.5)
    if side * side != positions.shape[1] - 1:
        raise CheckpointError(
            f"Expected a tokenizer with a square grid of patches, but there are {positions.shape[1] - 1} of them."
        )
    return TokenizerShape(
        image_size=(side * patch, side * patch),
        patch_size=patch,
        width=projection.shape[0],
        num_heads=max(1, projection.shape[0] // _USUAL_HEAD_CHANNELS),
        mlp_hidden=hidden.shape[0],
        encoder_depth=_depth(tensors, "encoder"),
        decoder_depth=_depth(tensors, "decoder"),
        target_width=target.shape[0],
        num_codes=codes.shape[0],
        code_width=codes.shape[1],
    )


def _depth(tensors: Mapping[str, Tensor], part: str) -> int:
    found = (_BLOCK.search(key) for key in tensors if key.startswith(part))
    return 1 + max((int(number[1]) for number in found if number), default=-1)
