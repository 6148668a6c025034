"""A convolutional network of timm under a linear layer: the one file of network/ that needs timm."""

import difflib
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from modelscope_beit.errors import SettingsError, require
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.settings.foreign_models import TimmModelSettings

# Where timm's network is in the classifier, as in mmcls.
TIMM_PREFIX = "backbone.timm_model."


class TimmClassifier(Classifier):
    """Backbone of timm, global average pooling, linear layer; weights have the names that mmcls gives them."""

    settings: TimmModelSettings

    def __init__(self, settings: TimmModelSettings) -> None:
        """Raises SettingsError for what timm cannot make, and for a network whose last features are no such map."""
        super().__init__()
        self.settings = settings
        network = build_timm_network(
            settings.model_name,
            "model.mm_model.backbone",
            **settings.arguments,
            in_chans=settings.in_channels,
            num_classes=0,
            global_pool="",
        )
        _check_features(network, settings)
        self.backbone = nn.ModuleDict({"timm_model": network})
        self.head = nn.ModuleDict({"fc": nn.Linear(settings.width, settings.num_classes)})
        initialise_timm_head(self)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W), float, normalised; any size that the network can halve."""
        logits: Tensor = self.head["fc"](self.pooled(images))
        return logits

    def pooled(self, images: Tensor) -> Tensor:
        """Returns the mean of the last feature map of each picture, (N, C)."""
        maps: Tensor = self.backbone["timm_model"](images)
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


def build_timm_network(model_name: str, where: str, **arguments: Any) -> nn.Module:
    """Returns a network of timm with fresh weights.

    where: the key or file that names it. arguments: of timm.create_model.
    Raises SettingsError for a name that timm does not know and for what it cannot make, MissingPackageError without it.
    """
    timm = require("timm", extra="timm", purpose=f"for the network {model_name}")
    if not timm.is_model(model_name):
        close = difflib.get_close_matches(model_name, timm.list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists them."
        raise SettingsError(f"{where}: timm {timm.__version__} does not know the network {model_name!r}; {hint}")
    try:
        network: nn.Module = timm.create_model(model_name, pretrained=False, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
        # Whatever its constructors say to arguments, in their own words.
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise SettingsError(
            f"{where}: timm {timm.__version__} cannot make {model_name} with {given}: {error or type(error).__name__}"
        ) from error
    return network


def _check_features(network: nn.Module, settings: TimmModelSettings) -> None:
    """Raises SettingsError unless the last features are a map of as many channels as the settings say.

    Only shapes are computed, so it takes no time.
    """
    shape = _feature_shape(network, settings)
    if len(shape) == 3 and shape[0] == settings.width:
        return
    found = f"{settings.model_name} gives features of shape {shape} for a picture"
    # Channels first: in any classifier they are more than rows.
    if len(shape) == 3 and shape[0] > shape[1]:
        raise SettingsError(f"model.mm_model.head.in_channels is {settings.width}, but {found}; set it to {shape[0]}.")
    raise SettingsError(
        f"model.mm_model.backbone: {found}, but a map (channels, rows, columns) is expected, of which the mean is "
        "taken. Networks that give tokens, or channels last, cannot be used this way; ViT and BEiT are native without "
        "timm."
    )


def _feature_shape(network: nn.Module, settings: TimmModelSettings) -> tuple[int, ...]:
    config: Any = network.default_cfg
    sides: Any = settings.arguments.get("img_size", config["input_size"][1:])
    height, width = (sides, sides) if isinstance(sides, int) else sides
    weights = {name: tensor.to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    picture = torch.empty(1, settings.in_channels, height, width, device="meta")
    network.eval()
    with torch.no_grad():
        features = functional_call(network, weights, (picture,))
    network.train()
    return tuple(features.shape[1:]) if isinstance(features, Tensor) else ()
