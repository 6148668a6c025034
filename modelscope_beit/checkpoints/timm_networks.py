"""Opens checkpoints of timm's convolutional networks under our names, and proves them.

Only networks whose classifier is one linear layer on the mean of the last feature map: what lies between the two, such
as ConvNeXt's norm, is an error, found by comparing the features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modelscope_beit.checkpoints.exact import load_exactly
from modelscope_beit.checkpoints.files import file_digest, read_weights
from modelscope_beit.checkpoints.foreign_folders import timm_recipe
from modelscope_beit.checkpoints.load import as_float32
from modelscope_beit.checkpoints.proof import Proof
from modelscope_beit.checkpoints.timm_files import TimmFile
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.names import HEAD_PREFIX
from modelscope_beit.network.timm_classifier import TIMM_PREFIX, TimmClassifier, build_timm_network
from modelscope_beit.settings.foreign_models import TimmModelSettings
from modelscope_beit.settings.preprocessing import Step

_NUM_CLASSES = 1000
_NUM_PICTURES = 2
_NUM_SHOWN = 5
_SEED = 0
# Pixels of a side in the comparison, which no weight of a convolution depends on.
_LARGEST_SIDE = 224
# Of the largest feature. Rounding through 150 blocks stays below it; what lies behind the pooling does not.
_MOST_ROUNDING = 1e-3
# BigTransfer begins a new head with zeros (arXiv 1912.11370, section 3.3).
_ZERO_HEADS = "_bit"
_OUR_HEAD = f"{HEAD_PREFIX}fc."
_POOLING = "SelectAdaptivePool2d"


@dataclass(frozen=True)
class TimmSource:
    """A checkpoint of a convolutional network of timm, opened.

    weights: the file, or the index of several. tensors: complete, under our names, float32. initialised: those of them
    with fresh values. class_names: None where the checkpoint has none. preprocessing: the steps that belong to it;
    image_size: (height, width) in pixels of what they make. description: one line for people. digest: of the weights.
    theirs: timm's own network with the weights of the file; it has no classifier where the file has none.
    """

    weights: Path
    settings: TimmModelSettings
    tensors: dict[str, Tensor]
    initialised: tuple[str, ...]
    class_names: tuple[str, ...] | None
    preprocessing: tuple[Step, ...]
    image_size: tuple[int, int]
    description: str
    digest: str
    theirs: nn.Module


def open_timm_source(
    file: TimmFile, *, image_size: tuple[int, int] | None = None, num_classes: int | None = None
) -> TimmSource:
    """Returns what a checkpoint holds; timm itself builds its network and, of an .npz, reads it.

    image_size: (height, width) in pixels that the steps are to make. num_classes: of the fresh head that a file without
    one gets (1000).
    Raises CheckpointError for a name or arguments that timm refuses, for weights that do not fit and for a classifier
    that is not one linear layer on a map, MissingPackageError without timm.
    """
    try:
        theirs = _their_network(file)
        head = _linear_layer(theirs, file.weights)
        settings = _settings(file, theirs, num_classes or _NUM_CLASSES if head is None else len(head.weight))
        ours = TimmClassifier(settings).state_dict()
    except SettingsError as error:
        place = "" if str(file.weights) in str(error) else f"{file.weights}: "
        raise CheckpointError(f"{place}{error}") from error
    found = _under_our_names(theirs)
    initialised = tuple(key for key in ours if key.startswith(HEAD_PREFIX)) if head is None else ()
    _check_fit({key: tensor for key, tensor in ours.items() if key not in initialised}, found, file.weights)
    config = theirs.default_cfg | file.preprocessing
    made_for = tuple(config["input_size"][-2:])
    height, width = image_size or made_for
    if config["fixed_input_size"] and (height, width) != made_for:
        raise CheckpointError(
            f"{file.weights}: {file.architecture} takes pictures of {made_for[0]}x{made_for[1]} pixels only, not of "
            f"{height}x{width}."
        )
    class_names = file.class_names
    millions = sum(parameter.numel() for parameter in theirs.parameters()) / 1e6
    described = [
        f"{file.weights.name}: timm {file.architecture}",
        f"{settings.num_classes} classes, {height}x{width} pixels, {millions:.1f} M parameters",
    ]
    if initialised:
        described.append(f"fresh: {', '.join(initialised)}")
    if class_names is not None and len(class_names) != settings.num_classes:
        described.append(f"its {len(class_names)} class names are left out, since the head has other classes")
        class_names = None
    return TimmSource(
        file.weights,
        settings,
        ours | found,
        initialised,
        class_names,
        timm_recipe(config, file.weights).steps((height, width)),
        (height, width),
        "; ".join(described),
        file_digest(file.weights),
        theirs,
    )


@torch.no_grad()
def prove_timm(source: TimmSource) -> Proof:
    """Returns the proof of an opened checkpoint: the same pictures through timm's network and through ours.

    Raises CheckpointError if the mean of the last feature map is not what timm's classifier gets.
    """
    ours = TimmClassifier(source.settings)
    ours.load_state_dict(source.tensors, assign=True)
    theirs: Any = source.theirs.eval()
    height, width = source.image_size
    if not theirs.default_cfg["fixed_input_size"]:
        height, width = min(height, _LARGEST_SIDE), min(width, _LARGEST_SIDE)
    shape = (_NUM_PICTURES, source.settings.in_channels, height, width)
    pictures = torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))
    maps, features = theirs.forward_features(pictures), ours.eval().pooled(pictures)
    expected: Tensor = theirs.forward_head(maps, pre_logits=True)
    if expected.shape != features.shape or bool(
        (expected - features).abs().max() > _MOST_ROUNDING * expected.abs().max()
    ):
        raise CheckpointError(_why_not_a_mean(source, maps))
    compared: Literal["logits", "features"] = "features"
    if not source.initialised:
        compared, expected, features = "logits", theirs.forward_head(maps), ours.head["fc"](features)
    return Proof(
        len(source.tensors) - len(source.initialised),
        0,
        source.initialised,
        source.digest,
        "timm",
        float((expected - features).abs().max()),
        f"with the file's own keys, {height}x{width} pixels",
        compared,
    )


def _their_network(file: TimmFile) -> Any:
    """Returns timm's network with the weights of a file, and with a classifier only if the file has one."""
    network: Any = build_timm_network(file.architecture, str(file.weights), **file.arguments)
    classifier = network.default_cfg["classifier"]
    if not isinstance(classifier, str):
        raise CheckpointError(f"{file.weights}: {file.architecture} has several classifiers: {', '.join(classifier)}.")
    if file.is_npz:
        network.reset_classifier(file.num_classes)
        try:
            network.load_pretrained(str(file.weights))
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{file.weights}: timm cannot read it as {file.architecture}: {type(error).__name__} {error}"
            ) from error
        return network
    weight = read_weights(file.weights).tensors.get(f"{classifier}.weight")
    network.reset_classifier(0 if weight is None else len(weight))
    load_exactly(network, file.weights)
    return network


def _linear_layer(network: Any, path: Path) -> nn.Linear | nn.Conv2d | None:
    """Returns the classifier of timm's network; None if it has none."""
    layer = network.get_classifier()
    if isinstance(layer, nn.Identity):
        return None
    is_linear = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1))
    if not is_linear or layer.bias is None:
        raise CheckpointError(f"{path}: its classifier is {layer}, but one linear layer with a bias is expected.")
    return layer


def _settings(file: TimmFile, network: Any, num_classes: int) -> TimmModelSettings:
    arguments = dict(file.arguments)
    name = file.architecture.partition(".")[0]
    in_channels = arguments.pop("in_chans", 3)
    layer = network.get_classifier()
    width = network.head_hidden_size if isinstance(layer, nn.Identity) else layer.weight.shape[1]
    settings = TimmModelSettings(name, num_classes, width, in_channels, arguments)
    return replace(settings, head_init_std=0.0) if name.endswith(_ZERO_HEADS) else settings


def _under_our_names(network: Any) -> dict[str, Tensor]:
    """Returns all weights, float32."""
    classifier = f"{network.default_cfg['classifier']}."
    found = {}
    for key, tensor in network.state_dict().items():
        # Counts of batches stay whole numbers.
        widened = as_float32(tensor) if tensor.is_floating_point() else tensor
        if key.startswith(classifier):
            # Some of timm's classifiers are convolutions.
            found[_OUR_HEAD + key.removeprefix(classifier)] = widened.flatten(1) if tensor.ndim > 2 else widened
        else:
            found[TIMM_PREFIX + key] = widened
    return found


def _check_fit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Raises CheckpointError if timm's whole network has other weights than the one without its head."""
    different = [
        key.removeprefix(TIMM_PREFIX)
        for key in sorted(expected.keys() | found.keys())
        if key not in expected or key not in found or expected[key].shape != found[key].shape
    ]
    if different:
        raise CheckpointError(
            f"{path}: only a linear layer on the mean of the last feature map can be expressed, but of this network "
            f"that would leave out or change {', '.join(different[:_NUM_SHOWN])}."
        )


@torch.no_grad()
def _why_not_a_mean(source: TimmSource, maps: Tensor) -> str:
    """Returns what to say of a network whose classifier gets something else; maps: its last ones."""
    behind: list[str] = []

    def note(name: str, module: nn.Module) -> None:
        if type(module).__name__ == _POOLING:
            behind.clear()
        elif next(module.parameters(recurse=False), None) is not None:
            behind.append(name)

    hooks = [
        module.register_forward_hook(lambda module, _inputs, _output, name=name: note(name, module))
        for name, module in source.theirs.named_modules()
    ]
    theirs: Any = source.theirs
    theirs.forward_head(maps, pre_logits=True)
    for hook in hooks:
        hook.remove()
    between = f", such as {', '.join(behind[:_NUM_SHOWN])}" if behind else ""
    return (
        f"{source.weights}: only a linear layer on the mean of the last feature map can be expressed, but "
        f"{source.settings.model_name} computes more between the two{between}. Nothing was written."
    )
