"""What a run will need, told before it starts: memory by a formula, time by trying a few iterations.

Memory is that of one process. It leaves out what the CUDA context and the allocator keep to themselves, about half a
gigabyte. Letters: N pictures of a batch, T tokens, C width, F width inside the feed-forward part, A heads.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modelscope_beit.network.classifier import BeitClassifier, Classifier
from modelscope_beit.settings.model import BackboneSettings, ModelSettings

_FLOAT, _HALF = 4, 2
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a training step takes, by what they hold.

    activations: what the forward pass keeps for the backward pass, and what that needs beside it.
    keeps_gradients: whether gradients stay between iterations: when they are accumulated, or shared by processes.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    keeps_gradients: bool

    @property
    def peak(self) -> int:
        """The most at one time. Activations go while gradients come, so only the larger of them counts."""
        lasting = self.weights + self.optimizer + self.average
        if self.keeps_gradients:
            return lasting + self.gradients + self.activations
        return lasting + max(self.gradients, self.activations)

    def in_words(self) -> dict[str, str]:
        """Returns heading -> text for a table."""
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "averaged weights": self.average,
            "activations": self.activations,
            "at the peak": self.peak,
        }
        return {name: size_in_words(size) for name, size in parts.items() if size}


@dataclass(frozen=True)
class TimeEstimate:
    """How long iterations will take; low and high: if all were as fast or as slow as those tried."""

    seconds: float
    low: float
    high: float
    seconds_per_iteration: float

    def in_words(self) -> str:
        """Returns e.g. "about 1 h 12 min (1 h 5 min to 1 h 31 min)"."""
        spread = f"{duration_in_words(self.low)} to {duration_in_words(self.high)}"
        return f"about {duration_in_words(self.seconds)} ({spread})"


def estimate_memory(
    classifier: Classifier,
    *,
    picture_size: tuple[int, int],
    batch_size: int,
    precision: str,
    on_cpu: bool,
    optimizer_tensors: int,
    has_average: bool,
    keeps_gradients: bool,
) -> MemoryEstimate:
    """Returns what training a network takes.

    picture_size: (height, width) in pixels of its input. batch_size: pictures that are computed at once.
    precision: "fp32", "bf16" or "fp16"; weights, gradients and what the optimizer keeps are float32 in any case.
    optimizer_tensors: kept for each weight, 2 by Adam and its like.
    """
    trained = [weight for weight in classifier.parameters() if weight.requires_grad]
    gradients = _FLOAT * sum(weight.numel() for weight in trained)
    weights = _FLOAT * sum(weight.numel() for weight in classifier.parameters())
    return MemoryEstimate(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer_tensors * gradients,
        average=weights if has_average else 0,
        activations=_activations(classifier, picture_size, batch_size, precision, on_cpu=on_cpu),
        keeps_gradients=keeps_gradients,
    )


def _activations(
    classifier: Classifier, picture_size: tuple[int, int], batch_size: int, precision: str, *, on_cpu: bool
) -> int:
    if not isinstance(classifier, BeitClassifier):
        return measured_activation_bytes(classifier, picture_size, batch_size, precision)
    settings, is_mixed = classifier.settings, precision != "fp32"
    number_bytes = _HALF if is_mixed else _FLOAT
    layers = [layer.weight for layer in classifier.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    # Autocast keeps a copy of each trained matrix.
    copies = _HALF * is_mixed * sum(weight.numel() for weight in layers if weight.requires_grad)
    kept = activation_bytes(settings, batch_size, number_bytes, on_cpu=on_cpu)
    return kept + copies + _working_bytes(settings, batch_size, number_bytes)


def measured_activation_bytes(
    network: nn.Module, picture_size: tuple[int, int], batch_size: int, precision: str
) -> int:
    """Returns what the forward pass keeps for the backward pass: for networks that nobody has a formula for.

    One and two pictures tell what each takes, and what is kept once: autocast's copies of weights, and the weights that
    BigTransfer standardises. Beside all that there is the gradient of the largest map.
    Batch norm is left as in evaluation, so that nothing in it changes.
    """
    one, two = (_kept_bytes(network, picture_size, count, precision) for count in (1, 2))
    kept = sum(one) + (batch_size - 1) * (sum(two) - sum(one))
    return kept + batch_size * (max(two) - max(one))


def _kept_bytes(network: nn.Module, picture_size: tuple[int, int], batch_size: int, precision: str) -> list[int]:
    """Returns the size of each tensor that is kept, weights apart."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    pictures = torch.zeros(batch_size, 3, *picture_size, device=device)
    half = torch.float16 if precision == "fp16" else torch.bfloat16
    with (
        torch.enable_grad(),
        torch.autocast(device.type, half, enabled=precision != "fp32"),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        # The result holds what was counted until the end, so no address is used twice.
        logits = network(pictures)
    network.train(was_training)
    del logits
    return list(kept.values())


def activation_bytes(settings: ModelSettings, batch_size: int, number_bytes: int, *, on_cpu: bool) -> int:
    """Returns what the forward pass keeps for the backward pass.

    number_bytes: of a number under autocast, 2 or 4. A block keeps, of each token: its two sums with the residual
    stream (2 C, float32), the inputs of its matrices (3 C + F; 3 C on a CPU, where GELU is computed again), the input
    of GELU (F), queries, keys and values (3 C), and with layer scale the two branches before it (2 C). Attention with a
    bias that is trained is not fused on a CPU: it keeps its weights (A T of each token). With gradient checkpointing a
    block keeps its input only, and one block at a time is computed again. Blocks that are not trained keep nothing.
    """
    backbone = settings.backbone
    num_tokens = batch_size * _tokens_per_picture(backbone)
    num_blocks = backbone.depth - max(backbone.frozen_stages, 0)
    block = num_tokens * _block_bytes_per_token(backbone, number_bytes, on_cpu=on_cpu)
    pictures = _picture_bytes(backbone, batch_size) if backbone.frozen_stages < 0 else 0
    if not backbone.gradient_checkpointing:
        return num_blocks * block + pictures
    has_bias = backbone.relative_position != "none"
    bias = backbone.num_heads * _tokens_per_picture(backbone) ** 2 if has_bias else 0
    return num_blocks * _FLOAT * (num_tokens * backbone.width + bias) + block + pictures


def _working_bytes(settings: ModelSettings, batch_size: int, number_bytes: int) -> int:
    """Returns what the backward pass needs at its beginning, when all activations are still there.

    That are the gradients of the last block's stream and wide layer, and of the logits. The batch stays too.
    """
    backbone = settings.backbone
    num_tokens = batch_size * _tokens_per_picture(backbone)
    gradients = num_tokens * (2 * _FLOAT * backbone.width + number_bytes * backbone.mlp_hidden)
    scores = 3 * _FLOAT * batch_size * settings.num_classes
    pictures = _picture_bytes(backbone, batch_size) if backbone.frozen_stages >= 0 else 0
    return gradients + scores + pictures


def _picture_bytes(backbone: BackboneSettings, batch_size: int) -> int:
    height, width = backbone.image_size
    return _FLOAT * batch_size * backbone.in_channels * height * width


def _tokens_per_picture(backbone: BackboneSettings) -> int:
    rows, columns = backbone.grid
    return backbone.num_prefix_tokens + rows * columns


def _block_bytes_per_token(backbone: BackboneSettings, number_bytes: int, *, on_cpu: bool) -> int:
    width, hidden = backbone.width, backbone.mlp_hidden
    is_fused = not on_cpu or backbone.relative_position == "none"
    keeps_gelu = not on_cpu or backbone.gradient_checkpointing
    matrices = 6 * width + (1 + keeps_gelu) * hidden
    branches = 0 if backbone.layer_scale_init is None else 2 * width
    attention_weights = 0 if is_fused else backbone.num_heads * _tokens_per_picture(backbone)
    return _FLOAT * 2 * width + number_bytes * (matrices + branches + attention_weights)


def estimate_time(
    iterate: Callable[[], object],
    num_iterations: int,
    *,
    warm_up: int = 2,
    tries: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> TimeEstimate:
    """Returns how long iterations will take, after trying some of them.

    iterate: does a whole one: batch, step, schedule. warm_up: first ones, which are slower and do not count.
    """

    def seconds_of_one() -> float:
        start = clock()
        iterate()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return clock() - start

    seconds = [seconds_of_one() for _ in range(warm_up + tries)][warm_up:]
    typical = statistics.median(seconds)
    return TimeEstimate(typical * num_iterations, min(seconds) * num_iterations, max(seconds) * num_iterations, typical)


def size_in_words(size: float) -> str:
    """Returns a number of bytes as e.g. "3.1 GiB"."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size:.0f} {_UNITS[unit]}"


def duration_in_words(seconds: float) -> str:
    """Returns a duration by its two largest units, e.g. "1 h 12 min", "12 min", "8 s"."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
