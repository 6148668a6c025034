"""A classifier that mmcls builds, with the face of ours: pictures to logits, or with targets to losses.

Imported only where mmcls is; see installed.py.
"""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmcls.models import ImageClassifier
from mmcv import ConfigDict
from torch import Tensor, nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.openmmlab.installed import register_host_backbone
from modelscope_beit.settings.foreign_models import MmclsModelSettings

# Mixing of samples is ours to do; weights are those of the model folder.
_NOT_PASSED = ("type", "pretrained", "train_cfg", "test_cfg")
# Accuracy is ours to count; mmcls wants a tuple for topk, which JSON does not have.
_NOT_PASSED_TO_HEAD = ("topk", "cal_acc")


class MmclsClassifier(Classifier, ImageClassifier):
    """mmcls's ImageClassifier; its state dict is that of mmcls."""

    settings: MmclsModelSettings
    # Heads have methods that torch's Module does not know.
    head: Any
    extract_feat: Any
    computes_losses = True

    def __init__(self, settings: MmclsModelSettings) -> None:
        ImageClassifier.__init__(self, **_arguments(settings))
        self.settings = settings
        for part in self.head.modules():
            # One loss a sample: batches that are short or spread over processes are weighted by our loop.
            if isinstance(getattr(part, "reduction", None), str):
                part.reduction = "none"

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W), float, normalised; with targets, the losses (N,) of the head.

        targets: class numbers (N,), or (N, K) shares of classes, or 1 for each class of a multi-label picture.
        """
        features = self.extract_feat(images)
        if targets is None:
            logits: Tensor = self.head.simple_test(features, **_for_logits(self.head))
            return logits
        losses = self.head.forward_train(features, targets)
        parts = [value for name, value in losses.items() if "loss" in name]
        return torch.stack([_per_sample(part) for part in parts]).sum(dim=0)

    def pooled(self, images: Tensor) -> Tensor:
        """Returns what the head's last layer gets of each picture, (N, C)."""
        features = self.extract_feat(images, stage="pre_logits")
        while isinstance(features, tuple | list):
            features = features[-1]
        pooled: Tensor = features
        return pooled


def build_mmcls_classifier(settings: MmclsModelSettings) -> MmclsClassifier:
    """Returns the classifier, its head with fresh weights.

    Raises SettingsError with what mmcls said if it cannot build it.
    """
    backbone = settings.mm_model["backbone"]
    register_host_backbone(backbone.get("type") if isinstance(backbone, dict) else None)
    try:
        classifier = MmclsClassifier(settings)
    except (KeyError, TypeError, ValueError, AssertionError, RuntimeError, NotImplementedError) as error:
        raise SettingsError(
            "mmcls cannot build model.mm_model: "
            + "; ".join([f"{type(error).__name__}: {str(error) or 'no further word'}", *settings.reasons])
        ) from error
    with _without_reports():
        classifier.head.init_weights()
    return classifier


def _arguments(settings: MmclsModelSettings) -> dict[str, Any]:
    arguments = {name: value for name, value in settings.mm_model.items() if name not in _NOT_PASSED}
    head = arguments["head"]
    assert isinstance(head, dict), "a head was read for its class count"
    arguments["head"] = {name: value for name, value in head.items() if name not in _NOT_PASSED_TO_HEAD}
    return dict(ConfigDict(arguments))


@contextmanager
def _without_reports() -> Iterator[None]:
    """mmcv logs three lines for every weight that it initialises."""
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(level)


def _for_logits(head: nn.Module) -> dict[str, bool]:
    """Returns the keywords that make a head return logits: softmax, or sigmoid for several classes a picture."""
    known = inspect.signature(head.simple_test).parameters  # type: ignore[arg-type]
    return {name: False for name in ("softmax", "sigmoid", "post_process") if name in known}


def _per_sample(losses: Tensor) -> Tensor:
    """Returns (N,): losses of classes (N, K) are added up, as mmcls does when it divides by the number of samples."""
    return losses.flatten(1).sum(dim=1) if losses.ndim > 1 else losses
