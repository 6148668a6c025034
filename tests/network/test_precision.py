"""Forms in every precision beside the classifier itself, on structured pictures."""

import pytest
import torch
from torch import Tensor, nn

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.network import precision as module
from modelscope_beit.network.classifier import BeitClassifier, Classifier, build_classifier
from modelscope_beit.network.inference_form import InferenceForm, inference_form
from modelscope_beit.network.int8_linear import measure_ranges
from modelscope_beit.network.precision import UnderAutocast, form_in
from modelscope_beit.settings.model import model_settings

CHOICES = [
    ("beitv2", {}),
    ("beitv2", {"relative_position": "shared"}),
    ("beitv2", {"absolute_position": True, "layer_scale_init": None}),
    ("vit", {}),
    ("vit", {"qkv_bias": "none"}),
    ("vit", {"distilled": True, "pooling": "two_tokens"}),
]


def randomised(family: str, choices: dict) -> BeitClassifier:
    torch.manual_seed(0)
    sizes = {"image_size": (64, 64), "width": 64, "depth": 3, "num_heads": 4, "mlp_hidden": 256}
    classifier = build_classifier(model_settings(family, "base", num_classes=10, **(sizes | choices)))
    return helpers.with_random_weights(classifier).eval()


def pictures(number: int, seed: int) -> Tensor:
    """Smooth pictures (N, 3, 64, 64) with a spread of 1, as photographs have after normalising."""
    coarse = torch.randn(number, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    smooth = nn.functional.interpolate(coarse, (64, 64), mode="bicubic")
    return smooth / smooth.std()


def share_of_spread(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean().sqrt() / wanted.std())


@pytest.mark.parametrize(("family", "choices"), CHOICES)
def test_form_in__is_as_close_as_promised(family: str, choices: dict) -> None:
    classifier, images = randomised(family, choices), pictures(16, seed=1)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    ranges = measure_ranges(inference_form(classifier), pictures(32, seed=2).split(8))
    with torch.inference_mode():
        wanted = classifier(images)
        torch.testing.assert_close(form_in(classifier, "fp32")(images), wanted, atol=1e-5, rtol=1e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            by_torch = share_of_spread(classifier(images).float(), wanted)
        bf16 = share_of_spread(form_in(classifier, "bf16")(images), wanted)
        assert 0 < bf16 < by_torch
        # Random ViTs have no layer scale, and this one is narrow: a rounding counts for more.
        slack = 1 if family == "beitv2" else 2.5
        assert bf16 < 0.006 * slack
        for int8 in (form_in(classifier, "int8", ranges=ranges), form_in(classifier, "int8")):
            logits = int8(images)
            assert logits.dtype == torch.float32
            assert 0 < share_of_spread(logits, wanted) < 0.025 * slack
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())


@pytest.mark.parametrize("packs", [True, False])
def test_form_in__fp32_is_exact_in_oneDNNs_order_too(packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: N802
    monkeypatch.setattr(module, "prefers_onednn", lambda: packs)
    classifier, images = randomised("beitv2", {}), pictures(4, seed=1)
    with torch.inference_mode():
        torch.testing.assert_close(form_in(classifier, "fp32")(images), classifier(images), atol=1e-5, rtol=1e-5)


def test_form_in__attention_in_steps_equals_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images = randomised("beitv2", {}), pictures(16, seed=1)
    monkeypatch.setattr(module, "multiplies", lambda dtype: True)
    form = form_in(classifier, "bf16")
    assert all(block.in_steps for block in form.network.blocks)
    with torch.inference_mode():
        assert share_of_spread(form(images), classifier(images)) < 0.006


def test_form_in__narrow_weights_are_the_only_copy() -> None:
    classifier = randomised("beitv2", {})
    block = form_in(classifier, "bf16").network.blocks[0]
    kept = {id(tensor) for tensor in block.parameters()} & {id(tensor) for tensor in classifier.parameters()}
    assert len(kept) == 4, "only the two norms are shared"
    assert not any(tensor.ndim == 2 for tensor in block.parameters()), "a float32 weight is still held"


class Foreign(Classifier):
    """A network that somebody else built."""

    is_multi_label = True

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


def test_form_in__of_others_networks_is_torchs_own() -> None:
    network, images = Foreign().eval(), torch.randn(4, 3, 2, 2)
    assert form_in(network, "fp32") is network
    form = form_in(network, "bf16")
    assert isinstance(form, UnderAutocast) and form.is_multi_label
    with torch.inference_mode():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            wanted = network(images)
        assert wanted.dtype == torch.bfloat16 and torch.equal(form(images), wanted.float())
    with pytest.raises(SettingsError, match="not for a Foreign.*fp32, bf16 and fp16"):
        form_in(network, "int8")


def test_form_in__fp16_is_autocast() -> None:
    classifier, images = randomised("beitv2", {}), pictures(4, seed=1)
    form = form_in(classifier, "fp16")
    assert isinstance(form, UnderAutocast) and isinstance(form.network, InferenceForm)
    with torch.inference_mode():
        assert 0 < share_of_spread(form(images), classifier(images)) < 0.006


@pytest.mark.parametrize("number", [1, 4, 5, 11])
def test_form_in__large_batches_go_in_parts(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pictures of 16 patches and a hidden width of 256 make a block of 64 KiB."""
    monkeypatch.setattr(module, "_LARGEST_BLOCK", 70_000)
    classifier, images = randomised("beitv2", {}), pictures(number, seed=1)
    form, sizes = form_in(classifier, "fp32"), []
    form.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    with torch.inference_mode():
        torch.testing.assert_close(form(images), classifier(images), atol=1e-5, rtol=1e-5)
    assert sum(sizes) == number and max(sizes) <= 4 and max(sizes) - min(sizes) <= 1
