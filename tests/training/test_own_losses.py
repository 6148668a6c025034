"""Losses that networks compute themselves, before the first step."""

from typing import Any

import pytest
import torch
from torch import nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.training.own_losses import prepare_own_losses


class Weighted(nn.Module):
    """Stands for a loss of mmcls."""

    def __init__(self, class_weight: Any) -> None:
        super().__init__()
        self.class_weight = class_weight


class Network(Classifier):
    """Stands for a network of mmcls."""

    def __init__(self, class_weight: Any = None, *, is_multi_label: bool = False) -> None:
        super().__init__()
        self.settings = MmclsModelSettings({"head": {"num_classes": 3}}, 3, ())
        self.loss = Weighted(class_weight)
        self.is_multi_label = is_multi_label


def mm_model(loss: dict[str, Any] | None) -> dict[str, Any]:
    return {"head": {"type": "LinearClsHead", **({} if loss is None else {"loss": loss})}}


def test_prepare__balanced_weights_are_computed() -> None:
    network = Network("balanced")
    prepare_own_losses(network, mm_model(None), [6, 2, 1], is_multi_label=False)
    # scikit-learn's formula: samples / (classes * samples of the class).
    assert network.loss.class_weight == pytest.approx([9 / 18, 9 / 6, 9 / 3])
    assert torch.tensor(network.loss.class_weight).dtype == torch.float32, "mmcls makes a tensor of it"
    with pytest.raises(SettingsError, match="'balanced' needs the number of training pictures"):
        prepare_own_losses(Network("balanced"), mm_model(None), None, is_multi_label=False)


def test_prepare__other_weights_are_left_alone() -> None:
    network = Network([1, 2, 3])
    prepare_own_losses(network, mm_model(None), None, is_multi_label=False)
    assert network.loss.class_weight == [1, 2, 3]


@pytest.mark.parametrize("loss", [None, {"type": "CrossEntropyLoss"}, {"type": "LabelSmoothLoss"}])
def test_prepare__several_labels_need_a_loss_for_them(loss: dict[str, Any] | None) -> None:
    with pytest.raises(SettingsError, match="expects one right class per picture"):
        prepare_own_losses(Network(), mm_model(loss), None, is_multi_label=True)
    prepare_own_losses(Network(), mm_model(loss), None, is_multi_label=False)
    prepare_own_losses(Network(is_multi_label=True), mm_model(loss), None, is_multi_label=True)


@pytest.mark.parametrize("kind", ["FocalLoss", "AsymmetricLoss", "SomebodysLoss"])
def test_prepare__losses_for_several_labels_pass(kind: str) -> None:
    prepare_own_losses(Network(), mm_model({"type": kind}), None, is_multi_label=True)
    prepare_own_losses(
        Network(), mm_model({"type": "CrossEntropyLoss", "use_sigmoid": True}), None, is_multi_label=True
    )
