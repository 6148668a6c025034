"""PyTorch's own names for oneDNN's products, and whether they give the right numbers on this machine. torch only.

They are made for PyTorch's compiler and may change with any release: whoever uses one asks here first, which runs it
once, on a small problem, beside the public functions. A processor can be the reason too: without VNNI instructions
oneDNN's product overflows with all 8 bits of the weights.
"""

import functools
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_logger = logging.getLogger(__name__)

# Rows that the order of the weights is chosen for: eight pictures of 14 x 14 patches. Other numbers work as well.
_ROWS = 8 * 197


def packed_weight(weight: Tensor) -> Tensor:
    """Returns a weight (out, in), float32 or bfloat16, in oneDNN's order, for packed_product."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
    return packed


def packed_product(
    tokens: Tensor, packed: Tensor, bias: Tensor | None, *, gelu: bool = False, added_to: Tensor | None = None
) -> Tensor:
    """Returns (..., out) of tokens (..., in): with bias, then GELU or the sum with added_to. All are of one type.

    packed: of packed_weight; or a weight (out, in) as it is, in any order.
    """
    product: Tensor
    if added_to is not None:
        product = torch.ops.mkldnn._linear_pointwise.binary(tokens, added_to, packed, bias, "add")
    else:
        name, algorithm = ("gelu", "none") if gelu else ("none", "")
        product = torch.ops.mkldnn._linear_pointwise(tokens, packed, bias, name, [], algorithm)
    return product


def packed_int8_weight(weight: Tensor) -> Tensor:
    """Returns an int8 weight (out, in) in oneDNN's order, for packed_int8_product."""
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return packed


def packed_int8_product(
    tokens: Tensor,
    step_and_zero: tuple[float, int],
    packed: Tensor,
    steps: Tensor,
    bias: Tensor | None,
    *,
    gelu: bool = False,
    output: tuple[float, int] | torch.dtype = torch.float32,
) -> Tensor:
    """Returns (..., out) of tokens (..., in), uint8, whose numbers are step * (token - zero).

    packed, steps: rows of the weight and what one is worth in each row, (out,). output: float32 or bfloat16, or step
    and zero of the answer, which is uint8 then. Activations must be uint8: with int8 oneDNN has only its slow
    reference.
    """
    step, zero = (1.0, 0) if isinstance(output, torch.dtype) else output
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        tokens,
        *step_and_zero,
        packed,
        steps,
        torch.zeros_like(steps, dtype=torch.int64),
        bias,
        step,
        zero,
        output if isinstance(output, torch.dtype) else torch.uint8,
        "gelu" if gelu else "none",
        [],
        "none" if gelu else "",
    )
    return product


def multiplies(dtype: torch.dtype) -> bool:
    """Tells whether this processor has instructions for products in float32 or bfloat16."""
    # Of Arm's processors PyTorch tells nothing that would say so.
    return dtype == torch.float32 or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def prefers_onednn() -> bool:
    """Tells whether oneDNN's products in float32 are faster on this processor than MKL's, which PyTorch takes.

    Measured on base: with AVX-512 (Zen 4) 1.3 times the pictures per second for one picture and 1.1 for eight, (Zen 5)
    2.5 and 2.0 times; with AVX2 only (Zen 3) MKL is the faster one.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


@functools.cache
def packed_product_works(dtype: torch.dtype) -> bool:
    """Tells whether packed_product gives what the public functions give, in float32 or bfloat16."""
    return _agrees(f"oneDNN's product of packed {dtype} weights", lambda: _packed_difference(dtype))


@functools.cache
def largest_packed_int8() -> int | None:
    """Returns up to which weight packed_int8_product gives what the definition gives; None: it does for none.

    It is 127, or 64 on processors without VNNI: they add two products in 16 bits, which hold 2 * 255 * 64.
    """
    for largest in (127, 64):
        if _agrees(f"oneDNN's product of int8 weights up to {largest}", functools.partial(_int8_difference, largest)):
            return largest
    return None


def _agrees(what: str, difference: Callable[[], float]) -> bool:
    """Runs a check, which gives its difference in parts of what is allowed."""
    try:
        # A tensor that was made in inference mode cannot be used outside of it.
        with torch.inference_mode(False), torch.no_grad():
            found = difference()
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
    else:
        if found <= 1:
            return True
        why = f"it is wrong by {found:.3g} times what rounding explains"
    _logger.info("%s is not used: %s.", what, why)
    return False


def _packed_difference(dtype: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(0)
    tokens, weight, bias, other = (
        torch.randn(*shape, generator=generator).to(dtype) for shape in ((2, 7, 72), (80, 72), (80,), (2, 7, 80))
    )
    packed = packed_weight(weight)
    exact = F.linear(tokens.double(), weight.double(), bias.double())
    pairs = (
        (packed_product(tokens, packed, bias), exact),
        (packed_product(tokens, packed, None), exact - bias.double()),
        (packed_product(tokens, packed, bias, gelu=True), F.gelu(exact)),
        (packed_product(tokens, packed, bias, added_to=other), exact + other.double()),
        (packed_product(tokens, weight, bias), exact),
        (packed_product(tokens, weight.t().contiguous().t(), bias), exact),
        (packed_product(tokens[0].t().contiguous().t(), weight, bias), exact[0]),
    )
    # Rounded once to the type; and the roundings of the sum, in float32.
    relative, absolute = torch.finfo(dtype).eps, 256 * torch.finfo(torch.float32).eps
    return max(
        float(((found.double() - wanted).abs() / (relative * wanted.abs() + absolute)).max()) for found, wanted in pairs
    )


def _int8_difference(largest: int) -> float:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 256, (2, 7, 64), generator=generator).to(torch.uint8)
    weight = torch.randint(-largest, largest + 1, (48, 64), generator=generator).to(torch.int8)
    tokens[0, 0], weight[0], weight[1] = 255, largest, -largest
    steps, bias = torch.rand(48, generator=generator) / 1000, torch.randn(48, generator=generator)
    packed, input_step = packed_int8_weight(weight), (0.02, 101)
    exact = F.linear(0.02 * (tokens.double() - 101), weight.double() * steps.double()[:, None], bias.double())
    rounded = (F.gelu(exact) / 0.05 + 9).round().clamp(0, 255)
    found = packed_int8_product(tokens, input_step, packed, steps, bias, gelu=True, output=(0.05, 9))
    pairs = (
        (packed_int8_product(tokens, input_step, packed, steps, bias), exact, 1e-4),
        (packed_int8_product(tokens, input_step, packed, steps, bias, gelu=True), F.gelu(exact), 1e-4),
        (found, rounded, 1.0),
        (
            packed_int8_product(tokens, input_step, packed, steps, bias, output=torch.bfloat16),
            exact,
            float(exact.abs().max()) * torch.finfo(torch.bfloat16).eps,
        ),
    )
    return max(float((found.double() - wanted).abs().max()) / allowed for found, wanted, allowed in pairs)
