"""Linear layers in float32 or bfloat16 whose weights oneDNN has put in its own order once. torch only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.network.operator_checks import multiplies, packed_product, packed_product_works, packed_weight


def packed_linear(weight: Tensor, bias: Tensor | None, gelu: bool, dtype: torch.dtype) -> nn.Module:
    """Returns a layer like Linear, with a copy of weight (out, in) and bias in a type.

    Where oneDNN's product is not to be had, the layer does the same by public functions.
    """
    weight, bias = weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype)
    return (PackedLinear if packed_product_works(dtype) else UnpackedLinear)(weight, bias, gelu)


class PackedLinear(nn.Module):
    """One pass for the product, the bias, and GELU or the sum with other tokens of the same type."""

    def __init__(self, weight: Tensor, bias: Tensor | None, gelu: bool) -> None:
        super().__init__()
        # No buffers: a packed weight can be neither moved nor saved.
        self.dtype, self.packed, self.bias, self.gelu = weight.dtype, packed_weight(weight), bias, gelu

    def forward(self, tokens: Tensor, added_to: Tensor | None = None) -> Tensor:
        """Returns (..., out) of tokens (..., in), in the layer's type; with added_to, the sum, in the type of that."""
        tokens = tokens.to(self.dtype)
        if added_to is None or added_to.dtype == self.dtype:
            return packed_product(tokens, self.packed, self.bias, gelu=self.gelu, added_to=added_to)
        return added_to + packed_product(tokens, self.packed, self.bias)


class UnpackedLinear(nn.Module):
    """The same by public functions; rounds where PackedLinear does, and in bfloat16 before GELU, too.

    A processor without instructions for bfloat16 multiplies in float32: the weights stay narrow in memory and are
    widened one layer at a time, which is twice as fast as PyTorch's own way.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, gelu: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.gelu = weight, bias, gelu
        self.inner = weight.dtype if multiplies(weight.dtype) else torch.float32

    def forward(self, tokens: Tensor, added_to: Tensor | None = None) -> Tensor:
        """Returns (..., out) of tokens (..., in), in the layer's type; with added_to, the sum, in the type of that."""
        tokens = tokens.to(self.weight.dtype).to(self.inner)
        bias = None if self.bias is None else self.bias.to(self.inner)
        result = F.linear(tokens, self.weight.to(self.inner), bias)
        result = (F.gelu(result) if self.gelu else result).to(self.weight.dtype)
        return result if added_to is None else added_to + result
