"""Where a network looks, on pictures whose answer is known: by axioms, by what changes it, by where the object is."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor

import helpers
import timm_networks
from modelscope_beit.errors import SettingsError
from modelscope_beit.features.relevance import blurred_picture, relevance_map
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.classifier import Classifier, build_classifier
from modelscope_beit.network.precision import ClassifierInForm, form_in
from modelscope_beit.network.timm_classifier import TimmClassifier
from modelscope_beit.prediction.answering import shipped_pictures
from modelscope_beit.settings.foreign_models import TimmModelSettings
from modelscope_beit.settings.model import model_settings

# Quadrants of 12 pixels, with 8 of a sign or a square; patches of 4.
QUADRANT, OBJECT, PATCH, GRID = 12, 8, 4, 6
FRAME = 1 - F.pad(torch.ones(4, 4), (2, 2, 2, 2))
STRIPES = (torch.arange(8) % 4 < 2).float().expand(8, 8)
SIGNS = torch.stack([FRAME, 1 - FRAME, STRIPES, STRIPES.T])


def tiny(pooling: str = "mean", num_classes: int = len(SIGNS)) -> Classifier:
    settings = model_settings(
        *("beitv2", "base"),
        num_classes=num_classes,
        width=32,
        num_heads=4,
        depth=2,
        mlp_hidden=64,
        image_size=(GRID * PATCH, GRID * PATCH),
        patch_size=PATCH,
        layer_scale_init=None,
        pooling=pooling,
    )
    return build_classifier(settings)


def evidence(network: Classifier, images: Tensor, number: int) -> Tensor:
    """The logit of a class less the mean of all, (N,), float64."""
    with torch.no_grad():
        logits = network(images).double()
    return logits[:, number] - logits.mean(dim=1)


def hidden(network: Classifier, image: Tensor, number: int) -> np.ndarray:
    """The evidence that is lost when 3 x 3 patches are blurred, by the patch in their middle, (patches,)."""
    smooth = torch.from_numpy(gaussian_filter(image.numpy(), (0, 4, 4), mode="nearest"))
    rows, columns = (side // PATCH for side in image.shape[1:])
    pictures = image.repeat(1 + rows * columns, 1, 1, 1)
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        down = slice(max(0, row - 1) * PATCH, (row + 2) * PATCH)
        right = slice(max(0, column - 1) * PATCH, (column + 2) * PATCH)
        pictures[1 + place, :, down, right] = smooth[:, down, right]
    found = evidence(network, pictures, number)
    return (found[0] - found[1:]).numpy()


def composed(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, with a sign in one quadrant and plain squares in the others: pictures, classes, and where the sign is."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, GRID * PATCH, GRID * PATCH, generator=generator) * 0.3
    classes = torch.randint(len(SIGNS), (count,), generator=generator)
    quadrants = torch.randint(4, (count,), generator=generator)
    for row in range(count):
        for quadrant in range(4):
            top, left = QUADRANT * (quadrant // 2) + 2, QUADRANT * (quadrant % 2) + 2
            shape = SIGNS[classes[row]] if quadrant == quadrants[row] else torch.full((OBJECT, OBJECT), 0.5)
            color = 1.5 + torch.rand(3, 1, 1, generator=generator)
            images[row, :, top : top + OBJECT, left : left + OBJECT] += color * shape
    return images, classes, quadrants


@pytest.fixture(scope="module")
def network_that_needs_the_sign() -> Classifier:
    """Tells the signs apart, wherever they are: right nearly always, so it must have looked at them."""
    torch.manual_seed(0)
    network = tiny()
    steps = 160
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    images, classes, _ = composed(2000, seed=1)
    for step in range(steps):
        part = torch.arange(32 * step, 32 * step + 32) % len(images)
        F.cross_entropy(network(images[part]), classes[part]).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return network.eval()


@pytest.fixture(scope="module")
def garments() -> OpenedModel:
    return open_model("embedded")


def test_relevance_map__is_where_the_sign_is(network_that_needs_the_sign: Classifier) -> None:
    images, classes, quadrants = composed(24, seed=2)
    with torch.no_grad():
        found = network_that_needs_the_sign(images).argmax(dim=1)
    assert (found == classes).float().mean() >= 0.95
    shares, hits, agreements = [], [], []
    for image, number, quadrant in zip(images, found.tolist(), quadrants.tolist(), strict=True):
        speaks_for = relevance_map(network_that_needs_the_sign, image, number)
        by_quadrant = speaks_for.clip(0).reshape(2, GRID // 2, 2, GRID // 2).sum(axis=(1, 3)).ravel()
        shares.append(by_quadrant[quadrant] / by_quadrant.sum())
        hits.append(by_quadrant.argmax() == quadrant)
        lost = hidden(network_that_needs_the_sign, image, number)
        agreements.append(spearmanr(speaks_for.ravel(), lost).statistic)
    # By chance: a quarter, a quarter, nothing.
    assert np.mean(shares) > 0.5 and np.mean(hits) > 0.9 and np.mean(agreements) > 0.3


def test_relevance_map__agrees_with_hiding_patches_of_garments(garments: OpenedModel) -> None:
    agreements = []
    for path in shipped_pictures()[::2]:
        image = garments.transform(read_image(path))
        number = int(garments.network(image[None]).argmax())
        found = relevance_map(garments.network, image, number)
        agreements.append(spearmanr(found.ravel(), hidden(garments.network, image, number)).statistic)
    assert np.mean(agreements) > 0.12


@pytest.mark.parametrize("pooling", ["mean", "class_token"])
def test_relevance_map__sums_to_the_evidence(pooling: str) -> None:
    network = helpers.with_random_weights(tiny(pooling)).eval()
    (image,), _, _ = composed(1, seed=3)
    found = relevance_map(network, image, 2, steps=200)
    assert found.shape == (GRID, GRID) and found.dtype == np.float64
    wanted = evidence(network, torch.stack([image, blurred_picture(image)]), 2)
    assert found.sum() == pytest.approx(float(wanted[0] - wanted[1]), rel=0.01)


def test_relevance_map__of_a_class_is_not_that_of_another(network_that_needs_the_sign: Classifier) -> None:
    (image,), _, _ = composed(1, seed=4)
    maps = [relevance_map(network_that_needs_the_sign, image, number) for number in range(len(SIGNS))]
    # Evidence is relative: what speaks for one class speaks as much against the others.
    np.testing.assert_allclose(np.sum(maps, axis=0), 0, atol=1e-4)
    assert np.abs(maps[0] - maps[1]).max() > 0.01


def test_relevance_map__changes_nothing_and_asks_the_exact_network(garments: OpenedModel) -> None:
    image = garments.transform(read_image(shipped_pictures()[0]))
    before = copy.deepcopy(garments.network.state_dict())
    exact = relevance_map(garments.network, image, 9)
    in_int8 = ClassifierInForm(garments.network, form_in(garments.network, "int8"))
    with torch.no_grad():
        np.testing.assert_array_equal(relevance_map(in_int8, image, 9), exact)
    assert all(torch.equal(weight, before[name]) for name, weight in garments.network.state_dict().items())
    assert all(weight.grad is None for weight in garments.network.parameters())


def test_relevance_map__of_an_blurred_picture_is_zero(garments: OpenedModel) -> None:
    for color in ("black", "white", "#3060c0"):
        image = garments.transform(Image.new("RGB", (50, 40), color))
        np.testing.assert_allclose(relevance_map(garments.network, image, 0), 0, atol=1e-4)


def test_relevance_map__of_a_convolution_has_cells() -> None:
    pytest.importorskip("timm", reason="the network is timm's")
    settings = TimmModelSettings(timm_networks.BIT, 3, 32, arguments=timm_networks.TINY_BIT)
    network = helpers.with_random_weights(TimmClassifier(settings)).eval()
    image = torch.randn(3, 72, 64, generator=torch.Generator().manual_seed(0))
    assert relevance_map(network, image, 1, steps=2).shape == (4, 4)


@pytest.mark.parametrize(("number", "steps"), [(4, 8), (-1, 8), (0, 0)])
def test_relevance_map__refuses_what_cannot_be(number: int, steps: int) -> None:
    (image,), _, _ = composed(1, seed=5)
    with pytest.raises(SettingsError, match=f"class {number} and {steps} steps"):
        relevance_map(tiny().eval(), image, number, steps=steps)


def test_relevance_map__says_that_an_exported_network_has_no_gradients() -> None:
    class Exported(Classifier):
        pass

    with pytest.raises(SettingsError, match="no gradients"):
        relevance_map(Exported(), torch.zeros(3, 8, 8), 0)
