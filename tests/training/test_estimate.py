"""Estimates beside measurements: what torch keeps and allocates, and a clock."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.network.timm_classifier import TimmClassifier
from modelscope_beit.settings.foreign_models import TimmModelSettings
from modelscope_beit.settings.model import BackboneSettings, ModelSettings
from modelscope_beit.training.estimate import (
    MemoryEstimate,
    activation_bytes,
    duration_in_words,
    estimate_memory,
    estimate_time,
    measured_activation_bytes,
    size_in_words,
)
from timm_networks import BIT, TINY_BIT

SMALL = BackboneSettings(image_size=(64, 64), patch_size=8, width=96, depth=4, num_heads=3, mlp_hidden=384)
VIT = {"relative_position": "none", "absolute_position": True, "layer_scale_init": None, "qkv_bias": "full"}
KINDS = {
    "beit": {},
    "deep": {"depth": 9},
    "many tokens": {"image_size": (96, 128)},
    "shared bias": {"relative_position": "shared"},
    "vit": VIT,
    "distilled": VIT | {"distilled": True, "pooling": "two_tokens"},
    "frozen": {"frozen_stages": 2},
    "narrow": {"mlp_hidden": 96},
}


def settings_of(changes: dict) -> ModelSettings:
    return ModelSettings(dataclasses.replace(SMALL, **changes), num_classes=10)


def run_forward(network: nn.Module, images: Tensor, *, is_mixed: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
        return F.cross_entropy(network(images), torch.zeros(len(images), dtype=torch.long))


def kept_bytes(network: BeitClassifier, images: Tensor, *, is_mixed: bool) -> int:
    """Returns the size of all that the forward pass keeps for the backward pass, weights aside."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run_forward(network, images, is_mixed=is_mixed)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def allocated_peak(network: BeitClassifier, images: Tensor, *, is_mixed: bool) -> int:
    """Returns the most memory that a step allocates beside weights, pictures and what the optimizer keeps."""
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    optimizer_step(network, optimizer, images, is_mixed=is_mixed)  # Makes the optimizer's own tensors.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        optimizer_step(network, optimizer, images, is_mixed=is_mixed)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def optimizer_step(network, optimizer, images, *, is_mixed) -> None:
    run_forward(network, images, is_mixed=is_mixed).backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_activation_bytes__is_what_torch_keeps(kind, precision):
    settings, batch_size = settings_of(KINDS[kind]), 16
    is_mixed = precision == "bf16"
    images = torch.randn(batch_size, 3, *settings.backbone.image_size)
    measured = kept_bytes(build_classifier(settings).train(), images, is_mixed=is_mixed)
    estimated = activation_bytes(settings, batch_size, 2 if is_mixed else 4, on_cpu=True)
    assert estimated == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["beit", "vit", "frozen", "checkpointing"])
def test_estimate_memory__peak_is_what_torch_allocates(kind, precision):
    settings = settings_of({**KINDS, "checkpointing": {"gradient_checkpointing": True}}[kind])
    batch_size, is_mixed = 16, precision == "bf16"
    network = build_classifier(settings).train()
    images = torch.randn(batch_size, 3, *settings.backbone.image_size)
    measured = allocated_peak(network, images, is_mixed=is_mixed) + images.nbytes
    weights = sum(weight.nbytes for weight in network.parameters())
    trained = sum(weight.nbytes for weight in network.parameters() if weight.requires_grad)
    estimate = estimate_memory(
        network,
        picture_size=settings.image_size,
        batch_size=batch_size,
        precision=precision,
        on_cpu=True,
        optimizer_tensors=2,
        has_average=False,
        keeps_gradients=False,
    )
    assert (estimate.weights, estimate.gradients, estimate.optimizer) == (weights, trained, 2 * trained)
    assert estimate.peak == pytest.approx(measured + weights + 2 * trained, rel=0.15)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "width"), [(BIT, 32), ("test_resnet", 96)])
def test_estimate_memory__of_other_networks_is_what_torch_keeps_and_allocates(name, width, precision):
    pytest.importorskip("timm", reason="the networks of this test are timm's")
    arguments = TINY_BIT if name == BIT else {}
    network = TimmClassifier(TimmModelSettings(name, 10, width, arguments=arguments)).train()
    batch_size, is_mixed = 16, precision == "bf16"
    images = torch.randn(batch_size, 3, 64, 64)
    kept = kept_bytes(network, images, is_mixed=is_mixed)
    measured = measured_activation_bytes(network, (64, 64), batch_size, precision)
    # Beside what is kept there is one gradient; what batch norm keeps of a batch is small.
    assert 0.98 * kept <= measured <= 1.3 * kept
    peak = allocated_peak(network, images, is_mixed=is_mixed) + images.nbytes
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    estimate = estimate_memory(
        network,
        picture_size=(64, 64),
        batch_size=batch_size,
        precision=precision,
        on_cpu=True,
        optimizer_tensors=2,
        has_average=False,
        keeps_gradients=False,
    )
    assert estimate.peak == pytest.approx(peak + 3 * estimate.weights, rel=0.25)
    assert network.training and all(torch.equal(statistics[name], buffer) for name, buffer in network.named_buffers())


def test_activation_bytes__grows_with_the_batch_only():
    settings = settings_of({})
    one, two, three = (activation_bytes(settings, size, 4, on_cpu=False) for size in (8, 16, 24))
    assert three - two == two - one == one


def test_activation_bytes__a_gpu_keeps_no_attention_weights_but_what_gelu_made():
    settings = settings_of({})
    on_cpu, on_gpu = (activation_bytes(settings, 8, 4, on_cpu=where) for where in (True, False))
    assert on_cpu - on_gpu == SMALL.depth * 8 * 65 * (SMALL.num_heads * 65 - SMALL.mlp_hidden) * 4


def test_memory_estimate__peak():
    sizes = {"weights": 100, "gradients": 100, "optimizer": 200, "average": 100}
    assert MemoryEstimate(**sizes, activations=5000, keeps_gradients=False).peak == 5400
    assert MemoryEstimate(**sizes, activations=50, keeps_gradients=False).peak == 500
    assert MemoryEstimate(**sizes, activations=5000, keeps_gradients=True).peak == 5500


def test_memory_estimate__in_words():
    estimate = MemoryEstimate(100, 100, 0, 0, 3 << 30, keeps_gradients=False)
    assert estimate.in_words() == {
        "weights": "100 bytes",
        "gradients": "100 bytes",
        "activations": "3.0 GiB",
        "at the peak": "3.0 GiB",
    }


def test_estimate_time__median_and_spread():
    moments = iter([0, 60, 100, 150, 200, 203, 300, 302, 400, 407])  # 60 and 50 to warm up; then 3, 2 and 7 seconds.
    tried = []
    estimate = estimate_time(lambda: tried.append(1), 1000, warm_up=2, tries=3, clock=lambda: next(moments))
    assert len(tried) == 5
    assert (estimate.low, estimate.seconds, estimate.high) == (2000, 3000, 7000)
    assert estimate.seconds_per_iteration == 3
    assert estimate.in_words() == "about 50 min (33 min to 1 h 57 min)"


def test_estimate_time__of_real_work():
    a = torch.randn(200, 200)
    estimate = estimate_time(lambda: a @ a, 100)
    assert 0 < estimate.low <= estimate.seconds <= estimate.high


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "60 s"),
        (60, "1 min"),
        (3570, "1 h"),
        (4320, "1 h 12 min"),
        (86_340, "23 h 59 min"),
        (86_390, "1 d"),
        (86_400 + 3600, "1 d 1 h"),
        (200_000, "2 d 8 h"),
    ],
)
def test_duration_in_words(seconds, words):
    assert duration_in_words(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (7 << 50, "7168.0 TiB")]
)
def test_size_in_words(size, words):
    assert size_in_words(size) == words
