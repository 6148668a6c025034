"""Linear layers that multiply 8-bit numbers: activations are uint8, weights int8 with a step for each row. torch only.

A layer's activations share a range, which is measured beforehand (measure_ranges) or on each batch as it comes.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.network.inference_form import InferenceForm, Linear
from modelscope_beit.network.operator_checks import (
    largest_packed_int8,
    packed_int8_product,
    packed_int8_weight,
)

_LARGEST = 255


class Range(NamedTuple):
    """The least and the largest number that a layer is given."""

    low: float
    high: float

    def step_and_zero(self) -> tuple[float, int]:
        """Returns step and zero of the uint8 that stand for step * (number - zero); 0 is always met exactly.

        Of a range that is not finite the step is NaN, which goes on into the answers, as in floating point.
        """
        if not math.isfinite(self.high - self.low):
            return math.nan, 0
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        step = (high - low) / _LARGEST or 1.0
        return step, round(-low / step)


def measure_ranges(form: InferenceForm, batches: Iterable[Tensor]) -> dict[str, Range]:
    """Returns the range of what each linear layer of the blocks is given, over all batches (N, 3, H, W), normalised.

    form: the exact one. Names are those of Arithmetic.
    """
    found: dict[str, Range] = {}

    def note(name: str, tokens: Tensor) -> None:
        low, high = (float(end) for end in tokens.aminmax())
        known = found.get(name, Range(low, high))
        found[name] = Range(min(known.low, low), max(known.high, high))

    layers = {name.removeprefix("blocks."): layer for name, layer in form.named_modules() if isinstance(layer, Linear)}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))
        for name, layer in layers.items()
    ]
    try:
        with torch.inference_mode():
            for images in batches:
                form(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


class Int8Linear(nn.Module):
    """A layer like Linear, with a copy of weight (out, in) in int8.

    ranges: of what this layer is given, and of what its answer is if the next layer takes that as uint8; None: the
    range is that of each batch, and the answer in `dtype`. Where oneDNN's product is wrong or not to be had, the same
    numbers are multiplied in float32, which is exact to rounding but not fast.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        gelu: bool,
        *,
        given: Range | None,
        answered: Range | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        weight = weight.detach()
        self.gelu, self.bias, self.dtype = gelu, None if bias is None else bias.detach().clone(), dtype
        largest = largest_packed_int8()
        self.is_packed = largest is not None
        self.steps = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / (largest or 127)  # (out,)
        narrow = (weight / self.steps[:, None]).round_().to(torch.int8)
        self.weight = packed_int8_weight(narrow) if self.is_packed else narrow
        self.given = None if given is None else given.step_and_zero()
        self.answered = None if answered is None else answered.step_and_zero()

    def forward(self, tokens: Tensor, added_to: Tensor | None = None) -> Tensor:
        """Returns (..., out), in `dtype` or, with a range for it, uint8, of tokens (..., in), float or uint8 in range.

        added_to: (..., out), float32, is added.
        """
        given = self.given
        if given is None:
            given = Range(*(float(end) for end in tokens.aminmax())).step_and_zero()
        if tokens.dtype != torch.uint8:
            tokens = _narrowed(tokens, given)
        if self.is_packed:
            result = packed_int8_product(
                tokens, given, self.weight, self.steps, self.bias, gelu=self.gelu, output=self.answered or self.dtype
            )
        else:
            result = self._product(tokens, given)
        return result if added_to is None else added_to + result

    def _product(self, tokens: Tensor, given: tuple[float, int]) -> Tensor:
        step, zero = given
        result = F.linear(tokens.float() - zero, self.weight.float()) * (step * self.steps)
        if self.bias is not None:
            result += self.bias
        if self.gelu:
            result = F.gelu(result)
        return result.to(self.dtype) if self.answered is None else _narrowed(result, self.answered)


def int8_linear(
    name: str,
    weight: Tensor,
    bias: Tensor | None,
    gelu: bool,
    ranges: Mapping[str, Range] | None,
    attention: torch.dtype,
) -> Int8Linear:
    """Returns the layer of a name; ranges: of measure_ranges, or None for those of each batch.

    attention: the type that it is done in, which queries, keys and values are answered in at once.
    """
    dtype = attention if name.endswith("qkv") else torch.float32
    if ranges is None:
        return Int8Linear(weight, bias, gelu, given=None, answered=None, dtype=dtype)
    answered = ranges[name.replace("fc1", "fc2")] if name.endswith("fc1") else None
    return Int8Linear(weight, bias, gelu, given=ranges[name], answered=answered, dtype=dtype)


def _narrowed(tokens: Tensor, step_and_zero: tuple[float, int]) -> Tensor:
    step, zero = step_and_zero
    # What is made an integer is cut off: with a half more, it is rounded.
    offset = torch.tensor(zero + 0.5)
    return torch.add(offset, tokens.float(), alpha=1 / step).clamp_(0, _LARGEST).to(torch.uint8)
