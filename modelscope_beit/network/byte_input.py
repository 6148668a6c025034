"""A classifier that takes the bytes of pictures: normalisation goes into the patch embedding. torch only."""

import copy
from itertools import chain

import torch
from torch import Tensor, nn

from modelscope_beit.network.classifier import BeitClassifier, Classifier
from modelscope_beit.settings.preprocessing import Normalize


@torch.no_grad()
def of_bytes(classifier: Classifier, normalize: Normalize) -> Classifier:
    """Returns a classifier that answers to pictures (N, 3, H, W) from 0 to 255 as this one does to normalised ones.

    normalize: what the pictures still lack; their channels are in its order. The new one shares all weights but those
    of the patch embedding, so change or move the two together. A network that others built normalises first.
    """
    if not isinstance(classifier, BeitClassifier):
        return _NormalizingClassifier(classifier, normalize)
    shared = {id(tensor): tensor for tensor in chain(classifier.parameters(), classifier.buffers())}
    folded = copy.deepcopy(classifier, shared)
    projection = folded.backbone.patch_embed.proj
    assert projection.bias is not None
    mean, factor = (values.to(projection.weight.device) for values in _mean_and_factor(normalize))
    weight = projection.weight.double() * factor[:, None, None]  # (C, 3, p, p)
    bias = projection.bias.double() - (weight * mean[:, None, None]).sum(dim=(1, 2, 3))
    projection.weight = nn.Parameter(weight.to(projection.weight.dtype), requires_grad=False)
    projection.bias = nn.Parameter(bias.to(projection.bias.dtype), requires_grad=False)
    return folded


class _NormalizingClassifier(Classifier):
    """A classifier behind the normalisation of its pictures."""

    mean: Tensor
    factor: Tensor

    def __init__(self, classifier: Classifier, normalize: Normalize) -> None:
        super().__init__()
        self.classifier = classifier
        self.settings = classifier.settings
        self.is_multi_label = classifier.is_multi_label
        self.head_prefix = f"classifier.{classifier.head_prefix}"
        parameter = next(classifier.parameters(), torch.empty(0))
        for name, values in zip(("mean", "factor"), _mean_and_factor(normalize), strict=True):
            self.register_buffer(name, values.to(parameter)[:, None, None])
        self.train(classifier.training)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W) from 0 to 255, of any type."""
        logits: Tensor = self.classifier((images.to(self.mean.dtype) - self.mean) * self.factor)
        return logits

    def pooled(self, images: Tensor) -> Tensor:
        """Returns what the head gets of each picture, (N, C)."""
        return self.classifier.pooled((images.to(self.mean.dtype) - self.mean) * self.factor)


def _mean_and_factor(normalize: Normalize) -> tuple[Tensor, Tensor]:
    """Returns two of (3,), float64, with mmcv's numbers; see images/normalizing.py."""
    mean, std = (torch.tensor(values, dtype=torch.float32).double() for values in (normalize.mean, normalize.std))
    return mean, 1 / std
