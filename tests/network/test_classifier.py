"""Oracles: timm's BEiT v2 and ViT, parameter counts of the released models, unilm's initialisation."""

import math
from dataclasses import replace

import pytest
import timm
import torch

from modelscope_beit.errors import ImageError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings

SMALL = {"image_size": (64, 64), "width": 64, "depth": 4, "num_heads": 4, "mlp_hidden": 256}


def randomised(family: str):
    torch.manual_seed(0)
    classifier = build_classifier(model_settings(family, "base", num_classes=10, **SMALL)).eval()
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return classifier


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_build_classifier__distilled_deit_has_timms_number_of_parameters(size: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(f"deit_{size}_distilled_patch16_224")
    ours = build_classifier(model_settings("vit", size, distilled=True, pooling="two_tokens"), device="meta")
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(("size", "count"), [("base", 86_530_984), ("large", 304_430_568)])
def test_build_classifier__has_the_published_number_of_parameters(size: str, count: int) -> None:
    classifier = build_classifier(model_settings("beitv2", size), device="meta")
    assert sum(parameter.numel() for parameter in classifier.parameters()) == count


@pytest.mark.parametrize(("family", "name"), [("beitv2", "beitv2_base_patch16_224"), ("vit", "vit_base_patch16_224")])
def test_classifier__gives_timms_logits(family: str, name: str) -> None:
    classifier = randomised(family)
    timm_model = timm.create_model(
        name, pretrained=False, img_size=64, embed_dim=64, depth=4, num_heads=4, num_classes=10
    )
    state = {
        key.removeprefix("backbone.").replace("head.fc", "head"): value
        for key, value in classifier.state_dict().items()
    }
    timm_model.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), timm_model.eval()(images), atol=1e-5, rtol=0)


def test_classifier__other_resolution_equals_a_classifier_built_for_it() -> None:
    classifier = randomised("beitv2")
    timm_model = timm.create_model(
        "beitv2_base_patch16_224", pretrained=False, img_size=64, embed_dim=64, depth=4, num_heads=4, num_classes=10
    ).eval()
    timm_model.load_state_dict(
        {k.removeprefix("backbone.").replace("head.fc", "head"): v for k, v in classifier.state_dict().items()}
    )
    timm_model.set_input_size(img_size=(96, 96))  # timm's rule is the linear one
    linear = build_classifier(model_settings("beitv2", "base", num_classes=10, table_resize="linear", **SMALL)).eval()
    linear.load_state_dict(classifier.state_dict())
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(linear(images), timm_model(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 60, 64), (1, 1, 64, 64), (3, 64, 64), (1, 3, 0, 64)])
def test_classifier__refuses_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="Expected"):
        randomised("beitv2")(torch.zeros(shape))


def test_initialise__follows_unilm() -> None:
    torch.manual_seed(0)
    backbone = model_settings("beitv2", "base", num_classes=10, width=256, depth=4, num_heads=4, mlp_hidden=1024)
    classifier = build_classifier(backbone)
    for number, block in enumerate(classifier.backbone.blocks, start=1):
        wanted = 0.02 / math.sqrt(2 * number)
        assert float(block.attn.proj.weight.std()) == pytest.approx(wanted, rel=0.03)
        assert float(block.mlp.fc2.weight.std()) == pytest.approx(wanted, rel=0.03)
        assert float(block.mlp.fc1.weight.std()) == pytest.approx(0.02, rel=0.03)
        assert not block.attn.relative_position_bias_table.any() and not block.attn.q_bias.any()
    assert float(classifier.head.fc.weight.std()) == pytest.approx(2e-5, rel=0.1)
    norms = [module for module in classifier.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 9 and all(norm.eps == 1e-6 for norm in norms)


def test_initialise__distilled_network_with_a_hidden_layer() -> None:
    torch.manual_seed(0)
    settings = model_settings("vit", "small", num_classes=100, depth=1, distilled=True, pooling="two_tokens")
    classifier = build_classifier(replace(settings, hidden_width=512))
    assert float(classifier.backbone.dist_token.std()) == pytest.approx(0.02, rel=0.1)
    # mmcls calls it "Lecun norm".
    assert float(classifier.head.pre_logits.weight.std()) == pytest.approx(384**-0.5, rel=0.03)
    for last in (classifier.head.fc, classifier.head.fc_dist):
        assert float(last.weight.std()) == pytest.approx(2e-5, rel=0.05) and not last.bias.any()
