"""Oracles: the definition of affine quantization in float64; ranges as seen by an observer of PyTorch's own layers."""

import pytest
import torch
import torch.nn.functional as F

from modelscope_beit.network import int8_linear as module
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.network.inference_form import inference_form
from modelscope_beit.network.int8_linear import Int8Linear, Range, measure_ranges
from modelscope_beit.network.operator_checks import largest_packed_int8


@pytest.fixture(params=[127, 64, None], ids=["8 bits", "7 bits", "plain"])
def largest_weight(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Returns up to which number weights go, in each way that this processor has."""
    if (request.param or 0) > (largest_packed_int8() or 0):
        pytest.skip(f"oneDNN's product of int8 weights up to {request.param} is wrong on this processor")
    monkeypatch.setattr(module, "largest_packed_int8", lambda: request.param)
    return request.param or 127


@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (0.5, 4.0), (-0.17, 0.0), (0.0, 0.0)])
def test_step_and_zero__meet_zero_and_both_ends(low: float, high: float) -> None:
    step, zero = Range(low, high).step_and_zero()
    assert 0 <= zero <= 255
    assert step * (0 - zero) <= min(low, 0) + step / 2 and step * (255 - zero) >= max(high, 0) - step / 2


@pytest.mark.parametrize("gelu", [True, False])
def test_layer__is_the_product_of_the_rounded_numbers(gelu: bool, largest_weight: int) -> None:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randn(2, 9, 64, generator=generator)
    weight = torch.randn(48, 64, generator=generator) * torch.logspace(-2, 1, 48)[:, None]
    weight[3] = 0
    bias, other = torch.randn(48, generator=generator), torch.randn(2, 9, 48, generator=generator)
    given = Range(-3.0, 3.5)
    step = 6.5 / 255
    zero = round(3.0 / step)
    rounded = ((tokens.double() / step + zero).round().clamp(0, 255) - zero) * step
    steps = weight.double().abs().amax(1, keepdim=True).clamp_min(1e-30) / largest_weight
    wanted = F.linear(rounded, (weight / steps).round() * steps, bias.double())
    wanted = F.gelu(wanted) if gelu else wanted
    found = Int8Linear(weight, bias, gelu, given=given, answered=None)(tokens)
    torch.testing.assert_close(found.double(), wanted, atol=2e-3, rtol=1e-4)
    if gelu:
        narrow = Int8Linear(weight, bias, gelu, given=given, answered=Range(-0.2, 10.0))(tokens)
        assert narrow.dtype == torch.uint8
        step = 10.2 / 255
        told = (narrow.double() - round(0.2 / step)) * step
        assert float((told - wanted.clamp(-0.2, 10)).abs().max()) < 0.6 * step
    else:
        layer = Int8Linear(weight, bias, gelu, given=given, answered=None)
        torch.testing.assert_close(layer(tokens, other).double(), wanted + other, atol=2e-3, rtol=1e-4)


@pytest.mark.usefixtures("largest_weight")
def test_layer__answers_in_the_type_of_attention() -> None:
    tokens, weight, bias = torch.randn(2, 9, 64), torch.randn(48, 64), torch.randn(48)
    exact = Int8Linear(weight, bias, False, given=Range(-4, 4), answered=None)(tokens)
    found = Int8Linear(weight, bias, False, given=Range(-4, 4), answered=None, dtype=torch.bfloat16)(tokens)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=2**-8, atol=1e-4)


@pytest.mark.usefixtures("largest_weight")
def test_layer__without_a_range_takes_that_of_the_batch() -> None:
    tokens, weight = 40 * torch.randn(2, 9, 64), torch.randn(48, 64)
    own = Int8Linear(weight, None, False, given=None, answered=None)(tokens)
    low, high = float(tokens.min()), float(tokens.max())
    given = Int8Linear(weight, None, False, given=Range(low, high), answered=None)(tokens)
    torch.testing.assert_close(own, given, atol=1e-3, rtol=0)


@pytest.mark.usefixtures("largest_weight")
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_layer__tells_of_numbers_that_are_not_finite(broken: float) -> None:
    """As in float32: who looks at the answers then finds out, in place of an error from within."""
    tokens = torch.randn(2, 9, 64)
    tokens[1, 3, 5] = broken
    found = Int8Linear(torch.randn(48, 64), None, False, given=None, answered=None)(tokens)
    assert not found.isfinite().any()


def test_measure_ranges__are_those_of_the_classifiers_own_layers(tiny_classifier: BeitClassifier) -> None:
    images = torch.randn(6, 3, 32, 32)
    seen: dict[str, list[float]] = {}

    def observe(name: str):  # type: ignore[no-untyped-def]
        return lambda _, given: seen.setdefault(name, []).extend((float(given[0].min()), float(given[0].max())))

    block = tiny_classifier.backbone.blocks[1]
    hooks = [block.mlp.fc1.register_forward_pre_hook(observe("1.fc1"))]
    hooks += [block.mlp.fc2.register_forward_pre_hook(observe("1.fc2"))]
    hooks += [block.attn.proj.register_forward_pre_hook(observe("1.proj"))]
    with torch.no_grad():
        tiny_classifier(images)
    found = measure_ranges(inference_form(tiny_classifier), images.split(2))
    assert {"0.qkv", "0.proj", "0.fc1", "0.fc2"} <= found.keys()
    for name, ends in seen.items():
        assert found[name] == pytest.approx((min(ends), max(ends)), abs=1e-5)
    assert not inference_form(tiny_classifier).blocks[0].fc1._forward_pre_hooks
