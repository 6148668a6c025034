"""Oracle: torch's linear and GELU in float64, on the weights as they are rounded."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modelscope_beit.network.operator_checks import packed_product_works
from modelscope_beit.network.packed_linear import PackedLinear, UnpackedLinear, packed_linear

KINDS = [(UnpackedLinear, torch.float32), (UnpackedLinear, torch.bfloat16)]
KINDS += [(PackedLinear, dtype) for dtype in (torch.float32, torch.bfloat16) if packed_product_works(dtype)]


@pytest.fixture
def numbers() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens, weight, bias and other tokens."""
    generator = torch.Generator().manual_seed(3)
    shapes = ((2, 9, 64), (48, 64), (48,), (2, 9, 48))
    return tuple(torch.randn(*shape, generator=generator) for shape in shapes)  # type: ignore[return-value]


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_layer__is_the_product_of_rounded_numbers(
    kind: type, dtype: torch.dtype, gelu: bool, has_bias: bool, numbers: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    tokens, weight, bias, other = numbers
    weight, bias, rounded = weight.to(dtype), bias.to(dtype) if has_bias else None, tokens.to(dtype)
    wanted = F.linear(rounded.double(), weight.double(), None if bias is None else bias.double())
    wanted = F.gelu(wanted) if gelu else wanted
    layer = kind(weight, bias, gelu)
    found = layer(tokens)
    assert found.dtype == dtype
    # By public functions GELU may get a rounded number (below 4 where it bends, and with a slope of 0.13 at most).
    rounds_twice = kind is UnpackedLinear and gelu and dtype == torch.bfloat16
    tolerance = {"rtol": torch.finfo(dtype).eps, "atol": 4 * 0.13 * 2**-8 if rounds_twice else 1e-4}
    torch.testing.assert_close(found.double(), wanted, **tolerance)
    if not gelu:
        total = layer(tokens, other)
        assert total.dtype == torch.float32, "what the blocks add to stays in float32"
        torch.testing.assert_close(total.double(), wanted + other, rtol=tolerance["rtol"], atol=0.15)


def test_packed_linear__leaves_the_weight_alone(numbers: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    tokens, weight, bias, _ = numbers
    layer, before = packed_linear(weight, bias, False, torch.float32), layer_answer(weight, bias, tokens)
    weight.zero_()
    torch.testing.assert_close(layer(tokens), before, atol=1e-4, rtol=1e-5)


def layer_answer(weight: Tensor, bias: Tensor, tokens: Tensor) -> Tensor:
    return F.linear(tokens, weight, bias)
