"""Lamb beside mmcls's and timm's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from modelscope_beit.training.lamb import Lamb

OPTIONS = [
    {},
    {"max_grad_norm": 100.0, "betas": (0.8, 0.99), "eps": 1e-4},
    {"trust_clip": True, "lr": 0.1},
    {"always_adapt": True, "max_grad_norm": 0.01},
]
ORACLES = {"mmcls": "mmcls.core.optimizers.lamb", "timm": "timm.optim.lamb"}


def groups() -> list[dict[str, Any]]:
    """Returns groups with and without weight decay, one of them with weights that are zero."""
    torch.manual_seed(0)
    tensors = [torch.randn(4, 3), torch.zeros(5), torch.randn(2)]
    parameters = [torch.nn.Parameter(tensor) for tensor in tensors]
    return [{"params": parameters[:2], "weight_decay": 0.05}, {"params": parameters[2:], "weight_decay": 0.0}]


def weights_after(steps: int, make: Callable[..., torch.optim.Optimizer], options: dict[str, Any]) -> torch.Tensor:
    optimizer = make(groups(), **options)
    take_steps(optimizer, range(steps))
    return flat(optimizer)


def take_steps(optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = 3 * torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def flat(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    weights = [parameter.detach().flatten() for group in optimizer.param_groups for parameter in group["params"]]
    return torch.cat(weights)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("oracle", [pytest.param("mmcls", marks=pytest.mark.openmmlab), "timm"])
def test_step__is_that_of(oracle: str, options: dict[str, Any]) -> None:
    theirs = pytest.importorskip(ORACLES[oracle], reason=f"{oracle} is the oracle").Lamb
    expected = weights_after(30, theirs, options)
    torch.testing.assert_close(weights_after(30, Lamb, options), expected, rtol=1e-5, atol=1e-6)


def test_step__leaves_gradients_and_what_has_none_alone() -> None:
    trained, unused = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = Lamb([trained, unused])
    optimizer.step()
    trained.grad = torch.full((3,), 7.0)
    assert optimizer.step(lambda: 5) == 5
    assert trained.grad.tolist() == [7.0] * 3
    assert unused.tolist() == [1.0] * 3
    assert trained.tolist() != [1.0] * 3


def test_step__goes_on_from_a_saved_state() -> None:
    whole, first, second = (Lamb(groups()) for _ in range(3))
    take_steps(whole, range(6))
    take_steps(first, range(3))
    for parameter, other in zip(flat_parameters(second), flat_parameters(first), strict=True):
        parameter.data.copy_(other)
    second.load_state_dict(first.state_dict())
    take_steps(second, range(3, 6))
    assert torch.equal(flat(whole), flat(second))


def flat_parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
