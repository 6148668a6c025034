"""From a map of logits to the class of every pixel of the picture, and to one mask for each class. torch and numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.segmentation import resize_map

# Logits at the picture's size are made for so many numbers at a time (256 MB), not for all classes at once: 150 classes
# on 12 million pixels would need 7 GB.
_NUMBERS_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class ClassMap:
    """The class of every pixel of a picture.

    classes: (H, W), int32, rows of the head's logits. probabilities: (H, W), float32, of these classes.
    """

    classes: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Segment:
    """The part of a picture that belongs to one class.

    mask: (H, W), uint8, 1 inside and 0 outside. score: mean probability of the class over the pixels inside.
    """

    class_number: int
    mask: np.ndarray
    score: float


def segmentation_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Returns logits (N, K, rows, columns), float32, of images (N, 3, H, W), normalised, on the network's device."""
    parameter = next(network.parameters())
    with torch.inference_mode():
        logits: Tensor = network(images.to(device=parameter.device, dtype=parameter.dtype))
    return logits.float()


def class_map(logits: Tensor, size: Sequence[int]) -> ClassMap:
    """Returns the class map of a picture of size (height, width) in pixels, from its logits (K, rows, columns).

    Logits are resized bilinearly to the picture's size, then the largest counts; of equal ones the first. That equals
    the post_process_semantic_segmentation of transformers' processor. Probabilities are the softmax of these logits.
    Raises CheckpointError if a logit is not finite: an answer would be arbitrary.
    """
    if not bool(logits.isfinite().all()):
        raise CheckpointError("The network's logits are not finite numbers: its weights, or its precision, are broken.")
    height, width = size
    step = max(1, _NUMBERS_AT_ONCE // (height * width))
    with torch.inference_mode():
        best = logits.new_full((height, width), -torch.inf)
        total = logits.new_zeros((height, width))  # sum of exp(logit - best)
        classes = torch.zeros((height, width), dtype=torch.int32, device=logits.device)
        for first in range(0, len(logits), step):
            some = resize_map(logits[None, first : first + step], size)[0]  # (k, H, W)
            largest, place = some.max(dim=0)
            raised = torch.maximum(best, largest)
            total = total * (best - raised).exp() + (some - raised).exp_().sum(dim=0)
            classes = torch.where(largest > best, (place + first).to(torch.int32), classes)
            best = raised
    return ClassMap(classes.cpu().numpy(), total.reciprocal().cpu().numpy())


def segments(found: ClassMap) -> list[Segment]:
    """Returns one segment for every class that has a pixel, the largest first; of equal ones the first class."""
    counts = np.bincount(found.classes.ravel())
    totals = np.bincount(found.classes.ravel(), weights=found.probabilities.ravel())
    order = [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]
    return [
        Segment(number, (found.classes == number).astype(np.uint8), float(totals[number] / counts[number]))
        for number in order
    ]
