"""Proves a conversion: the same pictures through the library that the weights come from, and through ours.

What is compared are logits, or the features of a transformers folder without a head.

The only file here that asks for timm and transformers, and only inside functions.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modelscope_beit.checkpoints.convert import from_native
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.checkpoints.foreign_folders import CONFIG_FILE
from modelscope_beit.checkpoints.load import as_float32, classifier_with
from modelscope_beit.checkpoints.source import Source
from modelscope_beit.checkpoints.targets import timm_layout, timm_model, transformers_config
from modelscope_beit.errors import CheckpointError, MissingPackageError, require
from modelscope_beit.names import HEAD_PREFIX
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.settings.model import ModelSettings

_NUM_PICTURES = 2
_SEED = 0


@dataclass(frozen=True)
class Proof:
    """What is known about a conversion.

    num_mapped, num_dropped: keys of the file. initialised: our keys with fresh values. digest: of the weights.
    library: whose numbers ours were compared with, "" if that was not possible. largest_difference: of what was
    compared, over a fixed batch of random pictures at the file's own size. reason: why there is no comparison, or how
    it was made. compared: "logits", or "features": the pooled one and all tokens of the last block.
    """

    num_mapped: int
    num_dropped: int
    initialised: tuple[str, ...]
    digest: str
    library: str
    largest_difference: float | None
    reason: str
    compared: Literal["logits", "features"] = "logits"


def prove(source: Source) -> Proof:
    """Returns the proof of an opened checkpoint; missing libraries are a reason, not an error."""
    conversion = source.conversion
    lacks_features = any(not key.startswith(HEAD_PREFIX) for key in conversion.initialised)
    is_theirs = source.layout.startswith("transformers-")
    compared: Literal["logits", "features"] = "logits"
    library, difference, reason = "", None, ""
    try:
        if not conversion.initialised:
            theirs, reason = (_transformers_model if is_theirs else _timm_model)(source, _file_settings(source))
            difference = _largest_difference(theirs, source)
        elif is_theirs and not lacks_features and (source.path / CONFIG_FILE).is_file():
            compared, reason = "features", "opened by transformers itself"
            difference = _largest_difference_of_features(source)
        else:
            reason = f"the file has no {', '.join(conversion.initialised)}, so it gives no logits to compare"
    except (MissingPackageError, CheckpointError) as error:
        reason = str(error)
    if difference is not None:
        library = "transformers" if is_theirs else "timm"
    return Proof(
        len(conversion.mapped),
        len(conversion.dropped),
        conversion.initialised,
        source.digest,
        library,
        difference,
        reason,
        compared,
    )


def _file_settings(source: Source) -> ModelSettings:
    """Returns the settings before a change of size, which the libraries make in other ways."""
    return source.settings.with_image_size(*source.file_image_size)


@torch.no_grad()
def _largest_difference(theirs: nn.Module, source: Source) -> float:
    ours, pictures = _classifier_and_pictures(source)
    output: Any = theirs.float().eval()(pictures)
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return float((logits - ours(pictures)).abs().max())


@torch.no_grad()
def _largest_difference_of_features(source: Source) -> float:
    transformers = require("transformers", extra="dev", purpose="to compare the features with those of transformers")
    theirs = transformers.AutoModel.from_pretrained(str(source.path), local_files_only=True).float().eval()
    ours, pictures = _classifier_and_pictures(source)
    output, features = theirs(pictures), ours.backbone.features(pictures)
    # Our features leave out a distillation token.
    their_tokens = [
        output.last_hidden_state[:, :1],
        output.last_hidden_state[:, ours.settings.backbone.num_prefix_tokens :],
    ]
    our_tokens = torch.cat([features.class_token[:, None], features.patch_tokens], dim=1)
    difference = float((torch.cat(their_tokens, dim=1) - our_tokens).abs().max())
    # The pooled feature of ViT and DeiT there has gone through a layer that no classifier has.
    if theirs.config.model_type == "beit" and output.pooler_output is not None:
        difference = max(difference, float((output.pooler_output - features.pooled).abs().max()))
    return difference


def _classifier_and_pictures(source: Source) -> tuple[BeitClassifier, Tensor]:
    """Returns our network at the file's own size, and random pictures for it."""
    settings = _file_settings(source)
    tensors = {key: as_float32(tensor) for key, tensor in source.conversion.tensors.items()}
    shape = (_NUM_PICTURES, settings.backbone.in_channels, *settings.backbone.image_size)
    pictures = torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))
    return classifier_with(settings, tensors).eval(), pictures


def _transformers_model(source: Source, settings: ModelSettings) -> tuple[nn.Module, str]:
    """Returns the model that transformers makes of the folder, or of the file and a configuration by us."""
    transformers = require("transformers", extra="dev", purpose="to compare the logits with those of transformers")
    if (source.path / CONFIG_FILE).is_file():
        automatic = transformers.AutoModelForImageClassification
        return automatic.from_pretrained(str(source.path), local_files_only=True), "opened by transformers itself"
    values = transformers_config(settings)
    kind = getattr(transformers, values["architectures"][0])
    tensors = read_weights(source.weights).tensors
    model = kind.from_pretrained(None, config=kind.config_class(**values), state_dict=tensors)
    return model, "with a configuration inferred by us"


def _timm_model(source: Source, settings: ModelSettings) -> tuple[nn.Module, str]:
    """Returns timm's model with the file's own weights; those of the mm family are renamed by us first."""
    timm = require("timm", extra="timm", purpose="to compare the logits with those of timm")
    architecture, arguments = timm_model(settings)
    model = timm.create_model(
        architecture, num_classes=settings.num_classes, in_chans=settings.backbone.in_channels, **arguments
    )
    if source.layout in ("unilm", "timm-vit"):
        tensors, reason = dict(read_weights(source.weights).tensors), "with the file's own keys"
        for key in source.conversion.dropped:
            del tensors[key]
    else:
        tensors = from_native(source.conversion.tensors, timm_layout(settings))
        reason = "after the keys were renamed by us"
    model.load_state_dict(tensors, strict=True)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = settings.backbone.layer_norm_eps
    return model, reason
