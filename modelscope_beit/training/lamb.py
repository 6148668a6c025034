"""The optimizer Lamb, with which networks are trained in very large batches. torch only."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """Adam whose step is, tensor by tensor, as long as the weights times the learning rate.

    params: parameters or groups of them, as for every torch optimizer. max_grad_norm: all gradients together are
    scaled down to this norm first. A parameter without weight decay takes Adam's own step, unless always_adapt.
    trust_clip: no step is made longer than Adam's.
    Source: You et al. 2020, Large Batch Optimization for Deep Learning (arXiv 1904.00962), in the variant of NVIDIA's
    FusedLAMB that mmcls 0.25.0 (core/optimizers/lamb.py) and timm have.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        max_grad_norm: float = 1.0,
        trust_clip: bool = False,
        always_adapt: bool = False,
    ) -> None:
        options = {"max_grad_norm": max_grad_norm, "trust_clip": trust_clip, "always_adapt": always_adapt}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **options})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step; returns what the closure returns, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        shrink = self._gradient_factor()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._direction(parameter, parameter.grad * shrink, group)
                    parameter.add_(update, alpha=-group["lr"])
        return loss

    def _gradient_factor(self) -> Tensor | float:
        """Returns what brings the norm of all gradients down to the largest one that is allowed."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return 1.0
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        return (self.defaults["max_grad_norm"] / norm).clamp(max=1.0)

    def _direction(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """Returns the step for a learning rate of 1, after taking the gradient into the averages."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        first, second = group["betas"]
        steps = state["step"].item()
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        deviation = square.sqrt().div_(math.sqrt(1 - second**steps)).add_(group["eps"])
        update = (mean / (1 - first**steps)).div_(deviation)
        if group["weight_decay"]:
            update.add_(parameter, alpha=group["weight_decay"])
        if group["weight_decay"] or group["always_adapt"]:
            update.mul_(_trust(parameter, update, group["trust_clip"]))
        return update


def _trust(parameter: Tensor, update: Tensor, is_clipped: bool) -> Tensor:
    """Returns the norm of the weights over that of the step; 1 where either is 0."""
    weights, step = parameter.norm(), update.norm()
    ratio = torch.where((weights > 0) & (step > 0), weights / step, torch.ones_like(weights))
    return ratio.clamp(max=1.0) if is_clipped else ratio
