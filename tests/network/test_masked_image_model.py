"""The logits of the reference: checkpoints/test_masked_image.py. Here: what the mask does, errors, gradients."""

import pytest
import torch

import helpers
from modelscope_beit.errors import ImageError
from modelscope_beit.network.masked_image_model import MaskedImageModel
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.model import BackboneSettings

SIZES = {"image_size": (32, 48), "patch_size": 8, "width": 32, "depth": 2, "num_heads": 2, "mlp_hidden": 64}


@pytest.fixture
def network():
    backbone = BackboneSettings(relative_position="shared", absolute_position=True, pooling="class_token", **SIZES)
    return helpers.with_random_weights(MaskedImageModel(MaskedImageModelSettings(backbone, 11))).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def test_forward__hidden_patches_are_not_seen(network, images):
    mask = torch.zeros(2, 24, dtype=torch.bool)
    mask[0, 7] = True  # Row 1, column 1 of 4 x 6 patches.
    logits = network(images, mask)
    assert logits.shape == (2, 24, 11)
    changed = images.clone()
    changed[0, :, 8:16, 8:16] += 5
    assert torch.equal(network(changed, mask), logits)
    changed[0, :, 8:16, 16:24] += 5
    assert not torch.allclose(network(changed, mask)[0], logits[0])


def test_forward__the_mask_token_stands_in_for_hidden_patches_only(network, images):
    mask = torch.zeros(2, 24, dtype=torch.bool)
    mask[1, 3:9] = True
    before = network(images, mask)
    with torch.no_grad():
        network.mask_token.add_(1)
    after = network(images, mask)
    assert torch.equal(after[0], before[0])
    # All patches look at the hidden ones, most of all these themselves.
    assert not (after[1, 3:9] == before[1, 3:9]).all(dim=1).any()


def test_forward__every_weight_learns(network, images):
    mask = torch.rand(2, 24, generator=torch.Generator().manual_seed(0)) < 0.4
    network.train()(images, mask)[mask].square().mean().backward()
    assert all(bool(weight.grad.abs().sum() > 0) for weight in network.parameters())


def test_forward__other_sizes_of_pictures(network):
    logits = network(torch.randn(1, 3, 64, 32), torch.ones(1, 32, dtype=torch.bool))
    assert logits.shape == (1, 32, 11) and bool(logits.isfinite().all())


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (torch.zeros(2, 23, dtype=torch.bool), r"\(2, 23\)"),
        (torch.zeros(1, 24, dtype=torch.bool), r"\(1, 24\)"),
        (torch.zeros(2, 24), "float32"),
    ],
)
def test_forward__masks_that_do_not_fit(network, images, mask, got):
    with pytest.raises(ImageError, match=rf"mask of shape \(2, 24\), bool, .* 4x6 patches; got .*{got}"):
        network(images, mask)


def test_forward__pictures_that_do_not_fit(network):
    with pytest.raises(ImageError, match="multiples of the patch of 8 pixels, got 30x48"):
        network(torch.zeros(1, 3, 30, 48), torch.zeros(1, 24, dtype=torch.bool))
