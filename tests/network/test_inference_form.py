"""Oracle: the classifier itself, which other tests hold against timm."""

import pytest
import torch

from modelscope_beit.errors import ImageError
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.network.inference_form import Arithmetic, fold_norms, inference_form
from modelscope_beit.settings.model import model_settings

CHOICES = [
    ("beitv2", {}),
    ("beitv2", {"relative_position": "shared"}),
    ("beitv2", {"absolute_position": True, "layer_scale_init": None}),
    ("beitv2", {"image_size": (32, 64)}),
    ("vit", {}),
    ("vit", {"qkv_bias": "none"}),
    ("vit", {"distilled": True, "pooling": "two_tokens"}),
    ("vit", {"distilled": True}),
]


def randomised(family: str, choices: dict) -> BeitClassifier:
    torch.manual_seed(0)
    sizes = {"image_size": (64, 64), "width": 64, "depth": 3, "num_heads": 4, "mlp_hidden": 256}
    classifier = build_classifier(model_settings(family, "base", num_classes=10, **(sizes | choices))).eval()
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return classifier


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("family", "choices"), CHOICES)
def test_inference_form__gives_the_classifiers_logits(family: str, choices: dict, in_place: bool) -> None:
    classifier = randomised(family, choices)
    images = torch.randn(2, 3, *classifier.settings.backbone.image_size)
    with torch.no_grad():
        wanted = classifier(images)
        form = inference_form(classifier, in_place=in_place)
        torch.testing.assert_close(form(images), wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(classifier(images), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "choices"), CHOICES)
def test_fold_norms__gives_the_same_logits_in_fewer_steps(family: str, choices: dict) -> None:
    classifier = randomised(family, choices)
    images = torch.randn(2, 3, *classifier.settings.backbone.image_size)
    with torch.no_grad():
        wanted = classifier(images)
        form = inference_form(classifier, arithmetic=Arithmetic(in_steps=True))
        fold_norms(form)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            logits = form(images)
        torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(classifier(images), wanted, atol=0, rtol=0)
    assert all(norm.weight is None for block in form.blocks for norm in (block.norm1, block.norm2))
    assert not {event.key for event in profile.key_averages()} & {"aten::mul", "aten::scaled_dot_product_attention"}


@pytest.mark.parametrize("is_form", [False, True])
@pytest.mark.parametrize("relative_position", ["shared", "per_layer", "none"])
def test_inference_form__and_classifier_use_fused_attention(relative_position: str, is_form: bool) -> None:
    """PyTorch passes over it without a word for masks that it does not like; then base takes a tenth longer."""
    classifier = randomised("beitv2", {"relative_position": relative_position})
    network = inference_form(classifier) if is_form else classifier
    with torch.inference_mode(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        network(torch.randn(2, 3, 64, 64))
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls.get("aten::_scaled_dot_product_flash_attention_for_cpu") == len(classifier.backbone.blocks)


def test_inference_form__leaves_the_classifier_as_it_was() -> None:
    classifier = randomised("beitv2", {})
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    inference_form(classifier)
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())


def test_inference_form__in_place_needs_no_second_copy_of_the_weights() -> None:
    classifier = randomised("beitv2", {})
    form = inference_form(classifier, in_place=True)
    block = classifier.backbone.blocks[0]
    assert form.blocks[0].proj.weight is block.attn.proj.weight and bool((block.gamma_1 == 1).all())


def test_inference_form__refuses_another_size() -> None:
    with pytest.raises(ImageError, match="64, 64"):
        inference_form(randomised("beitv2", {}))(torch.zeros(1, 3, 96, 96))
