"""What masked image modelling has learned, as a model whose features are probed; its head knows nothing."""

from pathlib import Path

import torch

from modelscope_beit import names
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.model_folder.opening import OpenedModel, find_weight_file
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.network.device import find_device
from modelscope_beit.pretraining.masked_files import open_masked_model
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.masked_pretraining import evaluation_steps_of
from modelscope_beit.settings.model import ModelSettings


def open_pretrained(run: Path, *, device: str = "cpu") -> OpenedModel:
    """Returns the network of a run of masked image modelling, whose last norm comes before its features are pooled.

    Patch aggregation is what has taught the class token; the extra blocks are left behind, as in fine-tuning.
    Raises ModelFolderError if the run has written no weights, CheckpointError if they are of something else,
    SettingsError for the device.
    """
    found_device = find_device(device)
    folder = run / names.RUN_OUTPUT
    with torch.random.fork_rng(devices=[]):
        pretrained = open_masked_model(find_weight_file(folder))
        settings = ModelSettings(pretrained.pretraining.model.backbone, num_classes=1)
        classifier = build_classifier(settings)
    classifier.backbone.load_state_dict(pretrained.backbone.state_dict())
    steps = evaluation_steps_of(pretrained.pretraining)
    return OpenedModel(
        folder=folder,
        settings=FolderSettings(settings, steps),
        network=classifier.to(found_device).eval(),
        class_names=("nothing",),
        transform=EvaluationTransform(steps),
    )
