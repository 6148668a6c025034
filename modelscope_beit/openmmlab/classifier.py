"""A classifier that mmcls builds, with the face of ours: pictures to logits, or with targets to losses.

Imported only where mmcls is; see installed.py.
"""

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from mmcls.models import ImageClassifier, MultiLabelClsHead
from mmcv import ConfigDict
from torch import Tensor, nn

from modelscope_beit.errors import ImageError, SettingsError, TrainingError
from modelscope_beit.names import HEAD_PREFIX
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.openmmlab.installed import register_backbone
from modelscope_beit.openmmlab.losses import give_losses_of_samples, losses_of_samples, with_class_count
from modelscope_beit.settings.foreign_models import MmclsModelSettings, head_has_layers

# Mixing of samples is ours to do; weights are those of the model folder.
_NOT_PASSED = ("type", "pretrained", "train_cfg", "test_cfg")
# Accuracy is ours to count; mmcls wants a tuple for topk, which JSON does not have.
_NOT_PASSED_TO_HEAD = ("topk", "cal_acc")
# Where TIMMBackbone would get weights from.
_NOT_PASSED_TO_BACKBONE = ("pretrained", "checkpoint_path")
# What mmcls and mmcv raise where a picture or a target does not suit a network.
_UNSUITABLE = (AssertionError, ValueError, TypeError, IndexError, NotImplementedError, RuntimeError)


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
        self.is_multi_label = isinstance(self.head, MultiLabelClsHead)
        self._has_mean_over_classes = give_losses_of_samples(self.head)
        if not head_has_layers(settings.mm_model):
            self.head_prefix = _last_layer(self)
        simple_test = inspect.signature(self.head.simple_test).parameters
        # Softmax, or sigmoid for several classes a picture.
        self._for_logits = {name: False for name in ("softmax", "sigmoid", "post_process") if name in simple_test}

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W), float, normalised; with targets, the losses (N,) of the head.

        targets: class numbers (N,), or (N, K) shares of classes, or 1 for each class of a multi-label picture.
        Raises ImageError or TrainingError with what mmcls said if the network cannot take the images or the targets.
        """
        try:
            features = self.extract_feat(images)
            if targets is None:
                return self._logits(features)
        except _UNSUITABLE as error:
            _pass_on(error)
            raise ImageError(
                f"The network, which mmcls built, cannot take pictures {tuple(images.shape[1:])}: "
                f"{type(error).__name__}: {error}"
            ) from error
        try:
            return self._losses(features, targets)
        except _UNSUITABLE as error:
            _pass_on(error)
            raise TrainingError(
                f"The head {type(self.head).__name__}, which mmcls built, cannot be trained with targets "
                f"{tuple(targets.shape)}: {type(error).__name__}: {error}. Mixed samples have shares of classes for "
                "targets, pictures with several labels one number for each class; not every loss takes these."
            ) from error

    def pooled(self, images: Tensor) -> Tensor:
        """Returns what the head's last layer gets of each picture, (N, C).

        Of heads with several inputs their mean, or if they differ in width all of them, one after the other.
        Raises SettingsError if the head has no layer, so that nothing comes before it.
        """
        if not head_has_layers(self.settings.mm_model):
            raise SettingsError(
                f"The head {type(self.head).__name__} has no layer: what it gets are the classes' logits, not features."
            )
        features = self.extract_feat(images, stage="pre_logits")
        while isinstance(features, tuple) and not hasattr(self.head, "pre_logits"):
            # The last stage of the neck.
            features = features[-1]
        if isinstance(features, Tensor):
            return features.flatten(2).mean(dim=2) if features.ndim == 4 else features
        if len({part.shape for part in features}) == 1:
            return torch.stack(list(features)).mean(dim=0)
        return torch.cat(list(features), dim=1)

    def _logits(self, features: Any) -> Tensor:
        logits = self.head.simple_test(features, **self._for_logits)
        if isinstance(logits, list | tuple):
            # Conformer's branches; mmcls adds them up before the softmax.
            return torch.stack(list(logits)).sum(dim=0)
        assert isinstance(logits, Tensor), f"heads give tensors, not {type(logits).__name__}"
        return logits

    def _losses(self, features: Any, targets: Tensor) -> Tensor:
        if self.is_multi_label and targets.ndim == 1:
            targets = F.one_hot(targets, self.settings.num_classes)
        parts = [value for name, value in self.head.forward_train(features, targets).items() if "loss" in name]
        return losses_of_samples(parts, len(targets), has_mean_over_classes=self._has_mean_over_classes)


def build_mmcls_classifier(settings: MmclsModelSettings) -> MmclsClassifier:
    """Returns the classifier, its head with fresh weights.

    Raises SettingsError with what mmcls said if it cannot build it.
    """
    backbone = settings.mm_model["backbone"]
    register_backbone(backbone.get("type") if isinstance(backbone, dict) else None)
    with _without_remarks():
        try:
            classifier = MmclsClassifier(settings)
        except (KeyError, TypeError, ValueError, AssertionError, RuntimeError, NotImplementedError) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(
                "mmcls cannot build model.mm_model: "
                + "; ".join([f"{type(error).__name__}: {str(error) or 'no further word'}", *settings.reasons])
            ) from error
        classifier.head.init_weights()
    return classifier


def _arguments(settings: MmclsModelSettings) -> dict[str, Any]:
    arguments = {name: value for name, value in settings.mm_model.items() if name not in _NOT_PASSED}
    for part, not_passed in (("head", _NOT_PASSED_TO_HEAD), ("backbone", _NOT_PASSED_TO_BACKBONE)):
        section = arguments[part]
        assert isinstance(section, dict), "settings have a backbone and a head"
        arguments[part] = {name: value for name, value in section.items() if name not in not_passed}
    loss = arguments["head"].get("loss")  # type: ignore[attr-defined]
    if isinstance(loss, dict):
        arguments["head"]["loss"] = with_class_count(loss, settings.num_classes)  # type: ignore[index]
    return dict(ConfigDict(arguments))


def _last_layer(network: nn.Module) -> str:
    """Returns how the names of the weights of a network's last linear layer begin; what no name has if it has none."""
    layers = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    return f"{layers[-1]}." if layers else HEAD_PREFIX


def _pass_on(error: Exception) -> None:
    """Raises an error again that has nothing to do with what mmcls makes of pictures or targets."""
    if isinstance(error, torch.OutOfMemoryError | SettingsError):
        raise error


@contextmanager
def _without_remarks() -> Iterator[None]:
    """mmcv logs three lines for every weight that it initialises, and warns of what its authors might do better."""
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"mmcv\.")
            yield
    finally:
        logging.disable(level)
