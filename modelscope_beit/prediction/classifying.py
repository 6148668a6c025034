"""From a batch of pictures to class probabilities, and from those to the best few names. torch and numpy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.scores import class_scores, familiarity
from modelscope_beit.settings.confidence import Confidence


class Answers(NamedTuple):
    """What a network says of N pictures.

    probabilities: (N, K) float32. are_unknown: of each picture whether it is of none of the classes; None for all of
    them where the model was not calibrated.
    """

    probabilities: np.ndarray
    are_unknown: Sequence[bool | None]


class TopClasses(NamedTuple):
    """The best classes of one picture, best first: names, and (k,) float32 probabilities beside them."""

    labels: tuple[str, ...]
    scores: np.ndarray


def classify(network: nn.Module, images: torch.Tensor, confidence: Confidence | None) -> Answers:
    """Returns the class probabilities of a batch, each row summing to 1, and which pictures are unknown.

    network: images -> logits, in eval mode: a classifier or its inference form. One that is_multi_label has a
        probability of its own for each class.
    images: (N, 3, H, W), as the network takes them, on any device; they are moved to its device and precision.
    confidence: of an opened model: the temperature that logits are divided by, and the threshold; None: neither.
    Softmax and sigmoid run in float64 on the logits as the network gave them, so the result is exact, and
    rounded once: within 1e-7 of the stock pipeline's float32 softmax, and the same on every device.
    """
    parameter = next(network.parameters(), None)
    if parameter is not None:
        # In two steps, so that bytes travel as bytes.
        images = images.to(parameter.device).to(parameter.dtype)
    with torch.inference_mode():
        logits = network(images)
    # To the processor first: not every accelerator has float64.
    logits = logits.cpu().double()
    is_multi_label = getattr(network, "is_multi_label", False)
    if confidence is None:
        return Answers(class_scores(logits, is_multi_label=is_multi_label).float().numpy(), [None] * len(logits))
    scores = class_scores(logits, is_multi_label=is_multi_label, temperature=confidence.temperature)
    are_unknown = familiarity(logits, is_multi_label=is_multi_label) < confidence.unknown_below
    return Answers(scores.float().numpy(), are_unknown.tolist())


def class_probabilities(network: nn.Module, images: torch.Tensor) -> np.ndarray:
    """Returns the class probabilities (N, K) of a batch, float32, without a temperature; see classify."""
    return classify(network, images, None).probabilities


def top_classes(probabilities: np.ndarray, class_names: Sequence[str], k: int) -> list[TopClasses]:
    """Returns the k best classes of each of the N rows of probabilities (N, K), best first.

    Classes with equal probability stay in the order of class_names. k is clipped to K; k < 1 raises
    SettingsError, as does a number of names other than K.
    """
    num_classes = probabilities.shape[1]
    if k < 1:
        raise SettingsError(f"topk must be at least 1, not {k}: it is the number of classes per picture.")
    if len(class_names) != num_classes:
        raise SettingsError(
            f"There are {len(class_names)} class names for a network of {num_classes} classes; "
            f"the model folder must name each class once, in the order of the head's rows."
        )
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]  # (N, min(k, K))
    return [
        TopClasses(tuple(class_names[column] for column in columns), row[columns])
        for row, columns in zip(probabilities, best, strict=True)
    ]
