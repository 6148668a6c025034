"""Names of unilm's tokenizer: the released layout, spelt out here, and what it becomes."""

import pytest
import torch
from torch import Tensor

from modelscope_beit.checkpoints.tokenizer_keys import from_unilm_tokenizer, to_unilm_tokenizer, tokenizer_shape
from modelscope_beit.errors import CheckpointError
from unilm_tokenizer import released_tensors


def test_from_unilm_tokenizer__leaves_out_the_teacher_and_unused_statistics() -> None:
    theirs = released_tensors()
    more = {
        "teacher_model.visual.proj": torch.zeros(2),
        "scaling_layer.shift": torch.zeros(3),
        "loss.weight": torch.zeros(1),
    }
    assert from_unilm_tokenizer(theirs | more).keys() == from_unilm_tokenizer(theirs).keys()
    assert not [key for key in from_unilm_tokenizer(theirs) if "quantize" in key]


def test_from_unilm_tokenizer__keeps_the_codes() -> None:
    theirs = released_tensors()
    ours = from_unilm_tokenizer(theirs)
    assert torch.equal(ours["codebook.codes"], theirs["quantize.embedding.weight"])
    assert torch.equal(ours["codebook.usage"], theirs["quantize.cluster_size"])
    assert bool(ours["codebook.is_started"]) and ours["codebook.is_started"].shape == ()
    assert torch.equal(ours["encoder.blocks.1.attn.q_bias"], theirs["encoder.blocks.1.attn.q_bias"])


def test_from_unilm_tokenizer__names_what_a_codebook_lacks() -> None:
    theirs = released_tensors()
    del theirs["quantize.embedding.weight"]
    with pytest.raises(CheckpointError, match=r"lacks quantize\.embedding\.weight\."):
        from_unilm_tokenizer(theirs)


def test_to_unilm_tokenizer__has_the_very_keys_shapes_and_types_of_a_released_file() -> None:
    theirs = released_tensors()
    written = to_unilm_tokenizer(from_unilm_tokenizer(theirs))

    def described(tensors: dict[str, Tensor]) -> dict[str, tuple]:
        return {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}

    assert described(written) == described(theirs)
    unused = ("quantize.embedding.embed_avg", "quantize.embedding.cluster_size")
    assert all(torch.equal(written[key], theirs[key]) for key in theirs if key not in unused)


def test_tokenizer_shape__tells_the_sizes() -> None:
    shape = tokenizer_shape(from_unilm_tokenizer(released_tensors(width=128, hidden=96, side=3, patch=4)))
    assert (shape.width, shape.num_heads, shape.mlp_hidden, shape.patch_size) == (128, 2, 96, 4)
    assert shape.image_size == (12, 12)
    assert (shape.encoder_depth, shape.decoder_depth, shape.target_width) == (2, 1, 12)
    assert (shape.num_codes, shape.code_width) == (24, 8)


def test_tokenizer_shape__refuses_something_else_and_grids_that_are_not_square() -> None:
    with pytest.raises(CheckpointError, match=r"lacks encoder\.patch_embed"):
        tokenizer_shape({"blocks.0.norm1.weight": torch.zeros(4)})
    ours = from_unilm_tokenizer(released_tensors())
    ours["encoder.pos_embed"] = torch.zeros(1, 7, 64)
    with pytest.raises(CheckpointError, match="square grid of patches, but there are 6"):
        tokenizer_shape(ours)
