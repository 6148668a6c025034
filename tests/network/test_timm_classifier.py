"""Oracles: timm's own networks with a classifier of the same weights, and mmcls's TIMMBackbone."""

import copy
import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from modelscope_beit.errors import MissingPackageError, SettingsError
from modelscope_beit.network.timm_classifier import TIMM_PREFIX, TimmClassifier
from modelscope_beit.settings.any_model import write_any_model
from modelscope_beit.settings.foreign_models import TimmModelSettings
from timm_networks import BIT, TINY_BIT, timm_network

pytest.importorskip("timm", reason="the networks of these tests are timm's")

# The name of timm's classifier, and the width of what it gets.
NETWORKS = {
    BIT: ("head.fc", 32),
    "test_resnet": ("fc", 96),
    "test_efficientnet": ("classifier", 256),
    "test_nfnet": ("head.fc", 192),
    "test_coatnet": ("head.fc", 128),
}


def settings_of(name: str = BIT, width: int = 32, **arguments: Any) -> TimmModelSettings:
    return TimmModelSettings(name, 3, width, arguments=(TINY_BIT if name == BIT else {}) | arguments)


def renamed(theirs: Any, classifier: str) -> dict[str, Tensor]:
    """Returns timm's weights under mmcls's names; the head may be a convolution there."""
    weights = {}
    for key, tensor in theirs.state_dict().items():
        is_head = key.startswith(f"{classifier}.")
        weights[f"head.fc{key.removeprefix(classifier)}" if is_head else f"{TIMM_PREFIX}{key}"] = tensor
    weights["head.fc.weight"] = weights["head.fc.weight"].flatten(1)
    return weights


def pictures(side: int = 160) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_timm_classifier__gives_timms_logits_and_features(name: str) -> None:
    classifier, width = NETWORKS[name]
    theirs = timm_network(name)
    ours = TimmClassifier(settings_of(name, width)).eval()
    ours.load_state_dict(renamed(theirs, classifier))
    images = pictures()
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
    features = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    torch.testing.assert_close(ours.pooled(images), features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [BIT, "test_resnet"])
@torch.no_grad()
def test_timm_classifier__has_the_weight_names_and_logits_of_mmcls(name: str) -> None:
    mmcls = pytest.importorskip("mmcls.models", reason="the oracle is mmcls, which needs Python below 3.13")
    mmcv = pytest.importorskip("mmcv")
    settings = settings_of(name, NETWORKS[name][1])
    theirs = mmcls.build_classifier(mmcv.ConfigDict(copy.deepcopy(write_any_model(settings)))).eval()
    ours = TimmClassifier(settings).eval()
    ours.load_state_dict(theirs.state_dict())
    images = pictures(96)
    logits = theirs.head.simple_test(theirs.extract_feat(images), softmax=False, post_process=False)
    torch.testing.assert_close(ours(images), logits, atol=1e-5, rtol=0)


def test_timm_classifier__other_sizes_and_gradients_reach_every_weight() -> None:
    ours = TimmClassifier(settings_of())
    logits = ours(pictures(72)[:, :, :, :48])
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    without = [name for name, weight in ours.named_parameters() if weight.grad is None]
    assert not without


def test_timm_classifier__other_numbers_of_channels() -> None:
    ours = TimmClassifier(TimmModelSettings(BIT, 3, 32, in_channels=1, arguments=TINY_BIT))
    assert ours(pictures()[:, :1]).shape == (2, 3)


def test_timm_classifier__fresh_head_as_mmcls_or_as_bigtransfer() -> None:
    torch.manual_seed(0)
    usual = TimmClassifier(settings_of("test_resnet", 96)).head["fc"]
    # mmcls's LinearClsHead: normal with deviation 0.01.
    assert float(usual.weight.detach().std()) == pytest.approx(0.01, rel=0.15)
    assert not usual.bias.any()
    zeros = TimmClassifier(TimmModelSettings(BIT, 3, 32, arguments=TINY_BIT, head_init_std=0.0)).head["fc"]
    assert not zeros.weight.any() and not zeros.bias.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            settings_of("resnetv2_50x1_bits"),
            r"does not know the network 'resnetv2_50x1_bits'; did you mean .*_50x1_bit ",
        ),
        (settings_of("zzz"), r"'zzz'; timm.list_models\(\) lists them"),
        (settings_of(width=64), r"in_channels is 64, but resnetv2_50x1_bit gives .* \(32, 7, 7\) .* set it to 32"),
        (settings_of("test_vit", 64), r"test_vit gives features of shape \(101, 64\) .* map .* is expected"),
        (settings_of("test_mambaout", 256), r"shape \(5, 5, 256\) .* channels last, cannot be used"),
        (settings_of(stem_channels=32), r"cannot make resnetv2_50x1_bit with .*stem_channels=32.* unexpected keyword"),
        (settings_of(stem_chs=48), r"cannot make resnetv2_50x1_bit .*divisible"),
        (settings_of("crossvit_9_240"), r"global_pool='': Only token or avg pooling is supported"),
    ],
)
def test_timm_classifier__what_cannot_be_built_is_told_at_once(settings: TimmModelSettings, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^model.mm_model.*{message}"):
        TimmClassifier(settings)


def test_timm_classifier__without_timm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def import_module(name: str) -> Any:
        if name == "timm":
            raise ImportError("No module named 'timm'")
        return found(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(MissingPackageError, match=r"timm is needed for the network resnetv2.*modelscope-beit\[timm\]"):
        TimmClassifier(settings_of())
