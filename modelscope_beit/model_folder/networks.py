"""Settings -> a network, whoever builds it: we, timm or mmcls. The one place where that is decided."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from modelscope_beit.checkpoints.exact import load_exactly
from modelscope_beit.checkpoints.load import classifier_with, native_weights
from modelscope_beit.data.batches import PictureTransform, RandomTransform
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.training_transform import TrainingTransform
from modelscope_beit.network.classifier import Classifier, build_classifier
from modelscope_beit.openmmlab.installed import require_mmcls
from modelscope_beit.settings.any_model import AnyModelSettings
from modelscope_beit.settings.foreign_models import TimmModelSettings
from modelscope_beit.settings.foreign_steps import Augmentation, ForeignSteps, Preprocessing
from modelscope_beit.settings.model import ModelSettings


@dataclass(frozen=True)
class StartNetwork:
    """A network to be trained, with its start weights.

    num_mapped: keys of the file that were used. initialised: its keys with fresh values.
    """

    network: Classifier
    num_mapped: int
    initialised: tuple[str, ...]


def build_network(settings: AnyModelSettings) -> Classifier:
    """Returns a network whose weights are still to come: they have any values, its head fresh ones.

    Raises MissingPackageError if timm or mmcls is needed and not there, SettingsError if it cannot build the network.
    """
    if isinstance(settings, ModelSettings):
        return build_classifier(settings)
    if isinstance(settings, TimmModelSettings):
        # timm is an extra.
        from modelscope_beit.network.timm_classifier import TimmClassifier

        return TimmClassifier(settings)
    require_mmcls("to build the network", settings.reasons)
    # mmcls is an extra.
    from modelscope_beit.openmmlab.classifier import build_mmcls_classifier

    return build_mmcls_classifier(settings)


def load_network(settings: AnyModelSettings, weights: Path) -> Classifier:
    """Returns the network with the weights of a file. Raises CheckpointError if they do not fit."""
    if isinstance(settings, ModelSettings):
        # Nothing is initialised first, and nothing copied.
        return classifier_with(settings, native_weights(settings, weights).tensors)
    network = build_network(settings)
    load_exactly(network, weights)
    return network


def load_start_network(settings: AnyModelSettings, weights: Path) -> StartNetwork:
    """Returns the network that training starts from: with the weights of a file, and a fresh head if that has another.

    Its weights are its own, not mapped from the file. Raises CheckpointError if they do not fit.
    """
    if isinstance(settings, ModelSettings):
        conversion = native_weights(settings, weights, new_head=True)
        tensors = {key: tensor.clone() for key, tensor in conversion.tensors.items()}
        return StartNetwork(classifier_with(settings, tensors), len(conversion.mapped), conversion.initialised)
    network = build_network(settings)
    loaded = load_exactly(network, weights, new_head=network.head_prefix)
    return StartNetwork(network, loaded.num_mapped, loaded.initialised)


def evaluation_transform(preprocessing: Preprocessing) -> PictureTransform:
    """Returns the one transform of prediction and evaluation."""
    if not isinstance(preprocessing, ForeignSteps):
        return EvaluationTransform(preprocessing)
    return _mmcls_transform(preprocessing)


def training_transform(augmentation: Augmentation) -> RandomTransform:
    """Returns the transform of training."""
    if not isinstance(augmentation, ForeignSteps):
        return TrainingTransform(augmentation)
    return _mmcls_transform(augmentation)


def _mmcls_transform(steps: ForeignSteps) -> Callable[..., Tensor]:
    require_mmcls("for steps of the preprocessor", steps.reasons)
    # mmcls is an extra.
    from modelscope_beit.openmmlab.transforms import MmclsTransform

    return MmclsTransform(steps)
