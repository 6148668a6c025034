"""Whether a wrong, changed or missing operator is found out. Oracles: PyTorch's public functions in float64."""

import logging
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from modelscope_beit.network import operator_checks as module
from modelscope_beit.network.operator_checks import (
    largest_packed_int8,
    multiplies,
    packed_product,
    packed_product_works,
    packed_weight,
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Each test asks anew, and leaves no answer behind."""
    yield
    packed_product_works.cache_clear()
    largest_packed_int8.cache_clear()


@pytest.fixture
def fresh_checks() -> None:
    packed_product_works.cache_clear()
    largest_packed_int8.cache_clear()


def has_vnni() -> bool:
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        return "vnni" in stream.read()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_packed_product__in_float32_equals_the_public_functions() -> None:
    assert packed_product_works(torch.float32)
    tokens, weight, bias, other = (torch.randn(*shape) for shape in ((3, 50, 64), (96, 64), (96,), (3, 50, 96)))
    packed, plain = packed_weight(weight), F.linear(tokens, weight, bias)
    torch.testing.assert_close(packed_product(tokens, packed, bias), plain, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(packed_product(tokens, packed, bias, gelu=True), F.gelu(plain), atol=1e-4, rtol=1e-5)
    total = packed_product(tokens, packed, bias, added_to=other)
    torch.testing.assert_close(total, plain + other, atol=1e-4, rtol=1e-5)


def test_largest_packed_int8__knows_the_overflow_without_vnni(fresh_checks: None) -> None:
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("is about x86 processors")
    assert largest_packed_int8() == (127 if has_vnni() else 64)


def test_packed_product_works__finds_a_wrong_gelu(
    fresh_checks: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def product(tokens, weight, bias, *, gelu=False, added_to=None):  # type: ignore[no-untyped-def]
        result = F.linear(tokens, weight, bias)
        result = F.gelu(result, approximate="tanh") if gelu else result
        return result if added_to is None else result + added_to

    monkeypatch.setattr(module, "packed_weight", lambda weight: weight)
    monkeypatch.setattr(module, "packed_product", product)
    with caplog.at_level(logging.INFO):
        assert not packed_product_works(torch.float32)
        assert not packed_product_works(torch.float32)
    (line,) = caplog.messages
    assert "is not used: it is wrong by" in line
    packed_product_works.cache_clear()
    monkeypatch.setattr(
        module,
        "packed_product",
        lambda tokens, weight, bias, *, gelu=False, added_to=None: (
            product(
                tokens, weight, bias, added_to=F.gelu(F.linear(tokens, weight, bias)) - F.linear(tokens, weight, bias)
            )
            if gelu
            else product(tokens, weight, bias, added_to=added_to)
        ),
    )
    assert packed_product_works(torch.float32), "the same product with the exact GELU passes"


def test_packed_product_works__survives_an_operator_that_is_gone(
    fresh_checks: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(weight: torch.Tensor) -> torch.Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_reorder_linear_weight'")

    monkeypatch.setattr(module, "packed_weight", gone)
    with caplog.at_level(logging.INFO):
        assert not packed_product_works(torch.float32)
    assert "has no attribute '_reorder_linear_weight'" in caplog.messages[0]


def test_packed_product_works__can_be_asked_in_inference_mode(fresh_checks: None) -> None:
    with torch.inference_mode():
        inside = packed_product_works(torch.float32)
    packed_product_works.cache_clear()
    assert inside == packed_product_works(torch.float32)


def test_multiplies__float32_always() -> None:
    assert multiplies(torch.float32)
