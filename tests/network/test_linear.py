"""Oracle: torch's own linear layer."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity

from modelscope_beit.network import linear as module
from modelscope_beit.network.linear import RoutedLinear, linear
from modelscope_beit.network.operator_checks import packed_product_works

needs_onednn = pytest.mark.skipif(
    not packed_product_works(torch.float32), reason="oneDNN's product is not to be had on this processor"
)


@pytest.fixture(params=[True, False], ids=["oneDNN", "MKL"], autouse=True)
def prefers_onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "prefers_onednn", lambda: request.param)
    return request.param


def operators(layer: nn.Module, tokens: torch.Tensor) -> set[str]:
    """Returns the names of what PyTorch ran, forwards and backwards."""
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as profiler:
        layer(tokens).sum().backward()
    return {event.key for event in profiler.key_averages()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24), (2, 1, 2, 24)])
def test_linear__has_the_numbers_and_gradients_of_torchs(shape: tuple[int, ...], bias: bool) -> None:
    layer = RoutedLinear(24, 40, bias=bias)
    plain = nn.Linear(24, 40, bias=bias)
    plain.load_state_dict(layer.state_dict())
    tokens = torch.randn(shape, requires_grad=True)
    same = tokens.detach().clone().requires_grad_()
    found, wanted = layer(tokens), plain(same)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    found.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(tokens.grad, same.grad, atol=1e-4, rtol=1e-4)
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)


def test_linear__has_torchs_second_derivatives() -> None:
    tokens, weight = torch.randn(6, 8), torch.randn(7, 8)
    twice = []
    for product in (linear, F.linear):
        given, matrix = tokens.clone().requires_grad_(), weight.clone().requires_grad_()
        (first,) = torch.autograd.grad(product(given, matrix, None).pow(3).sum(), given, create_graph=True)
        twice.append(torch.autograd.grad(first.square().sum(), (given, matrix)))
    for found, wanted in zip(*twice, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-2, rtol=1e-3)


@needs_onednn
def test_linear__leaves_the_product_to_whom_the_processor_prefers(prefers_onednn: bool) -> None:
    layer = RoutedLinear(24, 40)
    names = operators(layer, torch.randn(5, 24))
    assert ("mkldnn::_linear_pointwise" in names, "aten::addmm" in names) == (prefers_onednn, not prefers_onednn)


@pytest.mark.parametrize("tokens", [torch.randn(5, 24, dtype=torch.float64), torch.randn(0, 24), torch.randn(24)])
def test_linear__of_other_inputs_is_torchs(tokens: torch.Tensor) -> None:
    layer = RoutedLinear(24, 40, dtype=tokens.dtype)
    assert "mkldnn::_linear_pointwise" not in operators(layer, tokens)
    torch.testing.assert_close(layer(tokens), F.linear(tokens, layer.weight, layer.bias))


def test_linear__under_autocast_is_in_bfloat16() -> None:
    layer = RoutedLinear(24, 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(5, 24)).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*is deprecated")
@pytest.mark.parametrize("trace", ["export", "jit"])
def test_linear__is_public_operators_in_a_graph(trace: str) -> None:
    layer, tokens = RoutedLinear(24, 40), torch.randn(5, 24)
    if trace == "jit":
        graph = str(torch.jit.trace(layer, tokens).inlined_graph)
    else:
        graph = str(torch.export.export(layer, (tokens,)).graph)
    assert "linear" in graph and "mkldnn" not in graph


def test_linear__can_be_copied_and_compiled() -> None:
    layer, tokens = RoutedLinear(24, 40), torch.randn(5, 24)
    compiled = torch.compile(copy.deepcopy(layer), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens), layer(tokens), atol=1e-5, rtol=1e-5)
