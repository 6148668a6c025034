"""From a classifier and the name of a precision to the module that answers. torch only."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import BeitClassifier, Classifier
from modelscope_beit.network.inference_form import PATCHES, Arithmetic, InferenceForm, inference_form
from modelscope_beit.network.int8_linear import Range, int8_linear
from modelscope_beit.network.mapped_memory import give_back
from modelscope_beit.network.operator_checks import multiplies, prefers_onednn
from modelscope_beit.network.packed_linear import packed_linear

_NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
# What fits into the caches need not come from memory again. And glibc keeps freed blocks of this size; larger ones go
# back to the system, which fills their pages with zeros when it gives them out again. On two cores base answers 24
# pictures 1.03 times as fast as with 20 MiB in float32 and bfloat16, in int8 1.15 times with ranges and 1.28 without;
# with 5 MiB nothing is faster.
_LARGEST_BLOCK = 10 * 2**20


def form_in(
    classifier: Classifier, precision: str, *, ranges: Mapping[str, Range] | None = None, in_place: bool = False
) -> nn.Module:
    """Returns a module that gives the classifier's logits (N, K), float32, of images (N, 3, H, W) of its size.

    precision: "fp32" equals the classifier to rounding. "bf16" on a processor: weights, products and attention in
        bfloat16, what the blocks add to in float32; elsewhere, and in networks that others built, PyTorch's autocast,
        as always for "fp16". "int8": products of uint8 activations with int8 weights.
    ranges: for int8, see measure_ranges; None: of each batch.
    in_place: fp32 may change the classifier's weights, as inference_form says. Other forms leave them, and hold copies.
    Raises SettingsError for int8 of a network that others built or off the processor.
    """
    # A network of an exported file has no weights here; it answers on the processor.
    weight = next(classifier.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    is_native_on_cpu = isinstance(classifier, BeitClassifier) and device.type == "cpu"
    if is_native_on_cpu and precision != "fp16":
        if precision == "fp32" and not prefers_onednn():
            return InParts(inference_form(classifier, in_place=in_place))
        arithmetic = _int8(ranges) if precision == "int8" else _packed(_NARROW.get(precision, torch.float32))
        return InParts(inference_form(classifier, arithmetic=arithmetic))
    if precision == "fp32":
        return inference_form(classifier, in_place=in_place)
    if precision in _NARROW:
        return UnderAutocast(inference_form(classifier, in_place=in_place), device, _NARROW[precision])
    what = f"on {device}" if isinstance(classifier, BeitClassifier) else f"for a {type(classifier).__name__}"
    raise SettingsError(
        f"Precision {precision} is for the networks of this package on a processor, not {what}. "
        "There fp32, bf16 and fp16 can be had."
    )


class ClassifierInForm(Classifier):
    """A classifier that answers by another form of it; to pictures of other sizes than the form's, exactly."""

    def __init__(self, classifier: Classifier, form: nn.Module) -> None:
        super().__init__()
        self.settings, self.head_prefix = classifier.settings, classifier.head_prefix
        self.is_multi_label = classifier.is_multi_label
        self.classifier, self.form = classifier, form
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W); raises ImageError as the classifier does."""
        fits = images.shape[2:] == self.settings.image_size
        logits: Tensor = (self.form if fits else self.classifier)(images)
        return logits

    def pooled(self, images: Tensor) -> Tensor:
        """Returns what the head gets of each picture, (N, C), in float32."""
        return self.classifier.pooled(images)


class InParts(nn.Module):
    """A form that gets large batches in parts: what its widest layer makes of one then is a block that is kept."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        assert isinstance(network, InferenceForm)
        settings = network.settings.backbone
        bytes_of_one = settings.mlp_hidden * math.prod(settings.grid) * torch.float32.itemsize
        self.most_at_once = max(1, _LARGEST_BLOCK // bytes_of_one)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W)."""
        parts = -(-len(images) // self.most_at_once)
        if parts <= 1:
            whole: Tensor = self.network(images)
            return whole
        return torch.cat([self.network(part) for part in images.chunk(parts)])


class UnderAutocast(nn.Module):
    """A network whose products are done in a narrow type, as PyTorch chooses; answers in float32."""

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.device_type, self.dtype = network, device.type, dtype
        self.is_multi_label = getattr(network, "is_multi_label", False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W)."""
        with torch.autocast(self.device_type, dtype=self.dtype):
            logits: Tensor = self.network(images)
        return logits.float()


def _packed(dtype: torch.dtype) -> Arithmetic:
    def linear(name: str, weight: Tensor, bias: Tensor | None, gelu: bool) -> nn.Module:
        return packed_linear(weight, bias, gelu, torch.float32 if name == PATCHES else dtype)

    # The patch embedding is 1 % of the work, and in bfloat16 most of the difference in the logits: it stays in float32.
    attention = _attention(dtype)
    return Arithmetic(linear, attention, in_steps=attention == torch.bfloat16, on_used=give_back)


def _int8(ranges: Mapping[str, Range] | None) -> Arithmetic:
    attention = _attention(torch.bfloat16)

    def linear(name: str, weight: Tensor, bias: Tensor | None, gelu: bool) -> nn.Module:
        if name == PATCHES:
            return packed_linear(weight, bias, gelu, torch.float32)
        return int8_linear(name, weight, bias, gelu, ranges, attention)

    return Arithmetic(linear, attention, in_steps=attention == torch.bfloat16, on_used=give_back)


def _attention(dtype: torch.dtype) -> torch.dtype:
    return dtype if multiplies(dtype) else torch.float32
