"""A convolutional network of timm under a linear layer: the one file of network/ that needs timm."""

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from modelscope_beit.errors import SettingsError, require
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.settings.foreign_models import TimmModelSettings


class TimmClassifier(Classifier):
    """Backbone of timm, global average pooling, linear layer; weights have the names that mmcls gives them."""

    settings: TimmModelSettings

    def __init__(self, settings: TimmModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = nn.ModuleDict({"timm_model": _backbone(settings)})
        self.head = nn.ModuleDict({"fc": nn.Linear(settings.width, settings.num_classes)})
        initialise_timm_head(self)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W), float, normalised; any size that the network can halve."""
        logits: Tensor = self.head["fc"](self.pooled(images))
        return logits

    def pooled(self, images: Tensor) -> Tensor:
        """Returns the mean of the last feature map of each picture, (N, C).

        Raises SettingsError if the network makes no feature map of as many channels as the settings say.
        """
        maps = self.backbone["timm_model"](images)
        if maps.ndim != 4 or maps.shape[1] != self.settings.width:
            raise SettingsError(
                f"model.mm_model.backbone: {self.settings.model_name} gives features of shape "
                f"{tuple(maps.shape[1:])}, but a map ({self.settings.width}, h, w) is expected, as "
                "model.mm_model.head.in_channels says. Only networks whose last features are a map are native."
            )
        return maps.mean(dim=(2, 3))


@torch.no_grad()
def initialise_timm_head(classifier: TimmClassifier) -> None:
    """Gives the linear layer fresh weights: normal with the deviation of the settings, biases 0.

    Deviation 0 is the zero head of BigTransfer (arXiv 1912.11370, section 3.3).
    """
    layer = classifier.head["fc"]
    assert isinstance(layer, nn.Linear)
    nn.init.normal_(layer.weight, std=classifier.settings.head_init_std)
    nn.init.zeros_(layer.bias)


def _backbone(settings: TimmModelSettings) -> nn.Module:
    timm = require("timm", extra="timm", purpose=f"for the backbone {settings.model_name}")
    if not timm.is_model(settings.model_name):
        close = difflib.get_close_matches(settings.model_name, timm.list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists them."
        raise SettingsError(
            f"model.mm_model.backbone.model_name is {settings.model_name!r}, which timm {timm.__version__} does not "
            f"know: {hint}"
        )
    arguments: dict[str, Any] = dict(settings.arguments)
    try:
        network: nn.Module = timm.create_model(
            settings.model_name,
            pretrained=False,
            in_chans=settings.in_channels,
            num_classes=0,
            global_pool="",
            **arguments,
        )
    except TypeError as error:
        raise SettingsError(
            f"model.mm_model.backbone: timm cannot make {settings.model_name} with {arguments}: {error}"
        ) from error
    return network
