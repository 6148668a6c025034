"""Means over iterations: mmcv's LogBuffer is the oracle."""

import math

import pytest
import torch

from modelscope_beit.training.averages import PendingIterations, Span


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_take__means_are_those_of_mmcv(dtype):
    log_buffer = pytest.importorskip("mmcv.runner.log_buffer", reason="mmcv does not build on this Python")
    buffer, pending = log_buffer.LogBuffer(), PendingIterations()
    generator = torch.Generator().manual_seed(0)
    for number in range(7):
        loss, norm = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        images = 32 if number < 6 else 5
        buffer.update({"loss": loss}, images)
        buffer.update({"grad_norm": norm, "time": 0.2 * number})
        as_given = loss if dtype is None else torch.tensor(loss, dtype=dtype, requires_grad=True)
        pending.add(as_given, images, 0.01, 0.2 * number, norm if dtype is None else torch.tensor(norm))
    buffer.average()
    span = pending.take()
    assert span.mean_loss == pytest.approx(buffer.output["loss"], rel=1e-6)
    assert span.mean_gradient_norm == pytest.approx(buffer.output["grad_norm"], rel=1e-6)
    assert span.seconds / span.iterations == pytest.approx(buffer.output["time"])
    assert span.images_per_second == pytest.approx((6 * 32 + 5) / sum(0.2 * n for n in range(7)))
    assert len(pending) == 0 and pending.take() == Span()


def test_add__keeps_no_graph():
    pending = PendingIterations()
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * 2).sum()
    pending.add(loss, 1, 0.0, 0.1, None)
    assert not any(tensor.requires_grad for tensor in pending._losses)
    assert pending.take() == Span(1, 1, 6.0, 0.0, 0.1, 0.0, 0)


def test_span__of_nothing():
    span = Span()
    assert math.isnan(span.mean_loss) and span.mean_gradient_norm is None and span.images_per_second == 0.0


def test_span__adds_up():
    assert Span(1, 2, 3.0, 4.0, 5.0, 6.0, 7) + Span(10, 20, 30.0, 40.0, 50.0, 60.0, 70) == Span(
        11, 22, 33.0, 44.0, 55.0, 66.0, 77
    )


def test_take__half_precision_and_numbers_mixed():
    pending = PendingIterations()
    pending.add(torch.tensor(0.5, dtype=torch.bfloat16), 1, 0.0, 0.0, None)
    pending.add(1.5, 3, 0.0, 0.0, None)
    assert pending.take().mean_loss == 1.25
