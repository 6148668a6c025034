"""Linear layers as networks are trained with them: torch's, with float32 products by oneDNN where these are faster.

PyTorch leaves float32 to MKL, which on AMD's processors uses half of the width of AVX-512's registers: oneDNN makes
twice as many products a second there (Zen 5), forwards and backwards. torch only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.network.operator_checks import packed_product, packed_product_works, prefers_onednn


class RoutedLinear(nn.Linear):
    """torch's linear layer, whose products go the way of `linear`."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (..., out) of tokens (..., in)."""
        return linear(tokens, self.weight, self.bias)


def linear(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns (..., out) of tokens (..., in) and weight (out, in), as F.linear does, to rounding."""
    if not _is_for_onednn(tokens, weight):
        return F.linear(tokens, weight, bias)
    product: Tensor = _Product.apply(tokens, weight, bias)
    return product


def is_eager() -> bool:
    """Tells whether operators run as they are called: nothing traces, compiles or transforms them (torch.func)."""
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active())


def _is_for_onednn(tokens: Tensor, weight: Tensor) -> bool:
    return (
        tokens.device.type == weight.device.type == "cpu"
        and tokens.dtype == weight.dtype == torch.float32
        and tokens.ndim > 1
        and tokens.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        # A graph that is exported is to have public operators only.
        and is_eager()
        and prefers_onednn()
        and packed_product_works(torch.float32)
    )


class _Product(torch.autograd.Function):
    """Its gradients are products too, which have gradients in their turn."""

    @staticmethod
    def forward(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # oneDNN takes weights in any order; putting them into its own pays only if they stay.
        return packed_product(tokens, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        tokens, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        of_tokens, of_weight, of_bias = ctx.needs_input_grad
        return (
            _Product.apply(gradient, weight.t(), None) if of_tokens else None,
            _Product.apply(rows.t(), tokens.flatten(0, -2).t(), None) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )
