"""Oracle: timm's resampling of position embeddings, without antialiasing."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from modelscope_beit.network.absolute_position import resize_position_embedding


@pytest.mark.parametrize("num_prefix_tokens", [1, 2])
def test_resize_position_embedding__equals_timm(num_prefix_tokens: int) -> None:
    embedding = torch.randn(1, 49 + num_prefix_tokens, 8)
    wanted = resample_abs_pos_embed(
        embedding, new_size=[9, 5], old_size=[7, 7], num_prefix_tokens=num_prefix_tokens, antialias=False
    )
    torch.testing.assert_close(resize_position_embedding(embedding, (7, 7), (9, 5)), wanted)


def test_resize_position_embedding__same_grid_is_the_same_tensor() -> None:
    embedding = torch.randn(1, 5, 8)
    assert resize_position_embedding(embedding, (2, 2), (2, 2)) is embedding
