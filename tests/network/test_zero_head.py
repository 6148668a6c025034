"""A head of zeros: equal scores for all classes, and a gradient that moves the head first."""

import pytest
import torch
from torch import nn

import helpers
from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.network.zero_head import zero_head
from modelscope_beit.settings.model import model_settings


def test_zero_head__every_class_is_equally_likely(tiny_classifier: BeitClassifier) -> None:
    before = {name: weight.clone() for name, weight in tiny_classifier.backbone.state_dict().items()}
    assert zero_head(tiny_classifier, 5) == ("head.fc",)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(tiny_classifier(images), torch.zeros(2, 5))
    assert all(torch.equal(before[name], weight) for name, weight in tiny_classifier.backbone.state_dict().items())


def test_zero_head__both_layers_of_a_distilled_network_but_not_a_hidden_one() -> None:
    small = {"image_size": (32, 32), "width": 32, "depth": 1, "num_heads": 2, "mlp_hidden": 32}
    settings = model_settings("vit", "tiny", num_classes=4, distilled=True, pooling="two_tokens", **small)
    network = helpers.with_random_weights(build_classifier(settings))
    assert zero_head(network, 4) == ("head.fc", "head.fc_dist")
    hidden = nn.Module()
    hidden.head = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4, bias=False))
    weight = hidden.head[0].weight.clone()
    assert zero_head(hidden, 4) == ("head.2",)
    assert torch.equal(hidden.head[0].weight, weight)


@pytest.mark.parametrize("network", [nn.Linear(3, 4), nn.ModuleDict({"head": nn.Conv2d(3, 4, 1)})])
def test_zero_head__says_that_there_is_none(network: nn.Module) -> None:
    with pytest.raises(SettingsError, match="train.head_init is 'zero', but .* no linear layer with 4 outputs"):
        zero_head(network, 4)
