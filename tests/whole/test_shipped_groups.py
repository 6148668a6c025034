"""The parameter groups of every recipe that mmcls ships, on the network that it trains, beside mmcv's constructor."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modelscope_beit.checkpoints.convert import from_native
from modelscope_beit.checkpoints.key_tables import MMCLS_VIT
from modelscope_beit.model_folder.networks import build_network
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.training.optimizer import build_optimizer
from shipped_recipes import configuration, for_each_recipe, key_of, mm_recipe, read

pytestmark = pytest.mark.openmmlab

Rates = dict[str, tuple[float, ...]]


@contextmanager
def on_meta() -> Iterator[None]:
    """Lets networks of any size be built in no time: their weights have a shape and no values."""
    runner = pytest.importorskip("mmcv.runner", reason="mmcv is the oracle")
    linspace = torch.linspace
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        # mmcls asks the steps of its drop-path rates for their values, and mmcv fresh weights for their means.
        patch.setattr(torch, "linspace", lambda *ends, **how: linspace(*ends, **how | {"device": "cpu"}))
        patch.setattr(runner.BaseModule, "init_weights", lambda self: None)
        yield


def rates_of(optimizer: torch.optim.Optimizer, network: nn.Module) -> Rates:
    """Returns parameter -> learning rate, weight decay and momenta."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: (
            group["lr"],
            group["weight_decay"],
            *group.get("betas", [group.get("momentum")]),
            group.get("eps"),
            group.get("nesterov"),
        )
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def rates_of_mmcv(network: nn.Module, mm: dict[str, Any]) -> Rates:
    pytest.importorskip("mmcls.core", reason="mmcls has the optimizer Lamb")
    runner = pytest.importorskip("mmcv.runner", reason="mmcv is the oracle")
    return rates_of(runner.build_optimizer(network, mm["optimizer"]), network)


def in_mmclss_names(rates: Rates) -> Rates:
    """Returns the rates of our ViT under the names that its parameters have in mmcls."""
    numbers = {name: torch.tensor(number) for number, name in enumerate(rates)}
    values = list(rates.values())
    return {name: values[int(number)] for name, number in from_native(numbers, MMCLS_VIT).items()}


def built_by_mmcls(model: dict[str, Any]) -> nn.Module:
    models = pytest.importorskip("mmcls.models", reason="mmcls is the oracle")
    with on_meta():
        network: nn.Module = models.build_classifier(model)
    return network


@pytest.fixture(scope="module")
def compared() -> set[str]:
    """The networks and optimizers that were compared already; many recipes share them."""
    return set()


@for_each_recipe
def test_parameter_groups__are_mmcvs(path: Path, compared: set[str]) -> None:
    mm, settings = mm_recipe(path), read(path)[0].model
    # Neither the start weights, nor the loss and the mixing of samples have a say in the groups.
    parts = [configuration(path)["model"].get(name) for name in ("backbone", "neck")]
    key = key_of([parts, configuration(path)["optimizer"]])
    if key in compared:
        return
    with on_meta():
        is_native = isinstance(settings, ModelSettings)
        network = build_classifier(settings, device="meta") if is_native else build_network(settings)
    ours = rates_of(build_optimizer(network, read(path)[1].optimizer, fused=False), network)
    if is_native:
        ours, network = in_mmclss_names(ours), built_by_mmcls(mm["model"])
    expected = rates_of_mmcv(network, mm)
    assert len(expected) > 20
    assert ours == expected
    compared.add(key)
