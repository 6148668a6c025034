"""Oracle: transformers' BeitForSemanticSegmentation with random weights."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from modelscope_beit.checkpoints.segmentation import (
    from_transformers,
    read_segmentation_config,
    segmentation_network_with,
)
from modelscope_beit.errors import ImageError
from modelscope_beit.network.segmentation import FourScales, SegmentationNetwork, resize_map
from segmentation_models import logits_of, transformers_segmentation


def ours(model: Any) -> SegmentationNetwork:
    settings = read_segmentation_config(model.config.to_dict(), "config")
    tensors, _, _ = from_transformers(model.state_dict(), settings, "weights")
    return segmentation_network_with(settings, tensors, "weights")


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"num_hidden_layers": 6, "out_indices": [2, 3, 5, 6]},
        {"use_relative_position_bias": False, "use_shared_relative_position_bias": True},
        {"use_relative_position_bias": False, "use_absolute_position_embeddings": True},
        {"layer_scale_init_value": 0.0, "use_mean_pooling": False, "use_auxiliary_head": False},
        {"pool_scales": [1, 3], "layer_norm_eps": 1e-2, "hidden_size": 48},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(32, 32), (40, 24), (16, 64)], ids=str)
def test_logits__are_those_of_transformers_at_any_size(configuration: dict[str, Any], size: tuple[int, int]) -> None:
    model = transformers_segmentation(**configuration)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = logits_of(model, images)
    with torch.no_grad():
        found = ours(model)(images)
    assert found.shape == (2, 5, *size) and expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_forward__no_multiple_of_the_patch_is_an_error() -> None:
    with pytest.raises(ImageError, match="multiples of the patch of 4 pixels, got 32x33"):
        ours(transformers_segmentation())(torch.zeros(1, 3, 32, 33))


def test_forward__one_patch_is_too_little() -> None:
    with pytest.raises(ImageError, match="two patches of 4 pixels along each side, got 32x4"):
        ours(transformers_segmentation())(torch.zeros(1, 3, 32, 4))


def test_four_scales__halves_an_odd_map_downwards() -> None:
    maps = FourScales(8)([torch.zeros(1, 8, 5, 3)] * 4)
    assert [tuple(features.shape[2:]) for features in maps] == [(20, 12), (10, 6), (5, 3), (2, 1)]


def test_resize_map__is_the_map_itself_where_nothing_changes() -> None:
    features = torch.randn(1, 2, 4, 4)
    assert resize_map(features, (4, 4)) is features
    expected = F.interpolate(features, size=(8, 6), mode="bilinear")
    torch.testing.assert_close(resize_map(features, (8, 6)), expected)
