"""From logits to scores of classes, and to how likely a picture is of any class at all. torch only."""

import torch
from torch import Tensor
from torch.nn import functional


def class_scores(logits: Tensor, *, is_multi_label: bool, temperature: float = 1.0) -> Tensor:
    """Returns the scores (N, K) of logits (N, K), in their type: of each row the softmax, or of each logit the sigmoid.

    temperature: the logits are divided by it first. Source: Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    scaled = logits / temperature
    return scaled.sigmoid() if is_multi_label else scaled.softmax(dim=1)


def familiarity(logits: Tensor, *, is_multi_label: bool) -> Tensor:
    """Returns how much the logits (N, K) speak for any of the classes, (N,): the larger, the less likely unknown.

    It is the energy with its sign turned: the log of the sum of the exponentials, which a softmax divides away; with a
    sigmoid for each class, the sum of what each has against "none of it". No temperature belongs to it.
    Source: Liu et al. 2020, Energy-based Out-of-distribution Detection; Wang et al. 2021, Can multi-label
    classification networks know what they don't know?
    """
    return functional.softplus(logits).sum(dim=1) if is_multi_label else torch.logsumexp(logits, dim=1)
