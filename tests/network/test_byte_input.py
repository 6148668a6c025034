"""Oracle: the same network on pictures that were normalised before."""

import pytest
import torch
from torch import Tensor

import helpers
from modelscope_beit.network.byte_input import of_bytes
from modelscope_beit.network.classifier import BeitClassifier, Classifier, build_classifier
from modelscope_beit.network.inference_form import inference_form
from modelscope_beit.settings.model import model_settings
from modelscope_beit.settings.preprocessing import Normalize

IMAGENET = Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
STEPS = [IMAGENET, Normalize((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)), Normalize((0, 9, 200), (1, 255, 60), False)]


def pictures(side: int = 32) -> Tensor:
    return torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalized(images: Tensor, normalize: Normalize) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (normalize.mean, normalize.std))
    return (images - mean) / std


@pytest.fixture
def classifier(tiny_classifier: BeitClassifier) -> BeitClassifier:
    return helpers.with_random_weights(tiny_classifier).eval()


@pytest.mark.parametrize("normalize", STEPS, ids=lambda step: str(step.mean))
@torch.no_grad()
def test_of_bytes__logits_of_normalised_pictures(classifier: BeitClassifier, normalize: Normalize) -> None:
    found = of_bytes(classifier, normalize)
    expected = classifier(normalized(pictures(), normalize))
    torch.testing.assert_close(found(pictures().float()), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        found.pooled(pictures().float()), classifier.pooled(normalized(pictures(), normalize)), atol=1e-5, rtol=1e-5
    )
    # The form that answers fastest, and other sizes than its own.
    torch.testing.assert_close(inference_form(found)(pictures().float()), expected, atol=1e-5, rtol=1e-5)
    larger = pictures(48)
    torch.testing.assert_close(found(larger.float()), classifier(normalized(larger, normalize)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_of_bytes__patches_of_the_usual_size() -> None:
    torch.manual_seed(0)
    classifier = build_classifier(model_settings("beitv2", "base", depth=1, num_classes=10)).eval()
    images = pictures(224)
    expected = classifier(normalized(images, IMAGENET))
    torch.testing.assert_close(of_bytes(classifier, IMAGENET)(images.float()), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_of_bytes__shares_all_other_weights_and_leaves_the_classifier_alone(classifier: BeitClassifier) -> None:
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    found = of_bytes(classifier, IMAGENET)
    expected = found(pictures().float())
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    own = dict(classifier.named_parameters())
    different = [name for name, parameter in found.named_parameters() if parameter is not own[name]]
    assert different == ["backbone.patch_embed.proj.weight", "backbone.patch_embed.proj.bias"]
    assert not found.training
    # Brought into its fast form in place, it still answers the same, and so does the one that it shares weights with.
    form = inference_form(found, in_place=True)
    torch.testing.assert_close(form(pictures().float()), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(classifier(normalized(pictures(), IMAGENET)), expected, atol=1e-5, rtol=1e-5)


class Somebodys(Classifier):
    """A network that others built: sums of pixels, and of a multi-label kind."""

    is_multi_label = True

    def __init__(self, settings: object) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.float32
        return images.sum(dim=(2, 3))

    def pooled(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def test_of_bytes__networks_of_others(classifier: BeitClassifier) -> None:
    somebodys = Somebodys(classifier.settings).eval()
    found = of_bytes(somebodys, IMAGENET)
    assert found.settings is classifier.settings
    assert found.is_multi_label and not found.training
    images = normalized(pictures(), IMAGENET)
    torch.testing.assert_close(found(pictures()), somebodys(images), atol=1e-2, rtol=0)
    torch.testing.assert_close(found.pooled(pictures()), somebodys.pooled(images), atol=1e-5, rtol=0)
