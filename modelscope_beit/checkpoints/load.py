"""Makes a classifier out of a weight file of any known layout. torch only."""

import os
from collections.abc import Mapping

import torch
from torch import Tensor

from modelscope_beit.checkpoints.convert import Conversion, complete, rename
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.checkpoints.infer import infer_grid
from modelscope_beit.checkpoints.recognise import recognise
from modelscope_beit.checkpoints.resize import resize_weights
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.settings.model import ModelSettings


def load_classifier(settings: ModelSettings, path: str | os.PathLike[str], *, new_head: bool = False) -> BeitClassifier:
    """Returns a classifier of these settings with the weights of a file; nothing is initialised first.

    new_head: gives fresh values to a head that is missing or has another number of classes; what else was done is
    told by native_weights. Raises CheckpointError if the file is unusable or does not fit.
    """
    return classifier_with(settings, native_weights(settings, path, new_head=new_head).tensors)


def native_weights(settings: ModelSettings, path: str | os.PathLike[str], *, new_head: bool = False) -> Conversion:
    """Returns the weights of a file under our names, fitted to the settings: any layout, any image size, float32.

    Raises CheckpointError that names the file.
    """
    try:
        file = read_weights(path)
        renamed = rename(file.tensors, recognise(file.tensors))
        patch = settings.backbone.patch_size
        rows, columns = infer_grid(renamed, patch, settings.backbone.grid)
        file_settings = settings.with_image_size(rows * patch, columns * patch)
        conversion = complete(renamed, file_settings, new_head=new_head)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path}: {error}") from error
    _, tensors = resize_weights(conversion.tensors, file_settings, settings.backbone.image_size)
    tensors = {key: as_float32(tensor) for key, tensor in tensors.items()}
    return Conversion(conversion.layout, tensors, conversion.mapped, conversion.dropped, conversion.initialised)


def classifier_with(settings: ModelSettings, tensors: Mapping[str, Tensor]) -> BeitClassifier:
    """Returns a classifier that uses these very tensors (our names, complete) as its weights; no copy is made."""
    classifier = build_classifier(settings, device="meta")
    classifier.load_state_dict(dict(tensors), strict=True, assign=True)
    return classifier


def as_float32(tensor: Tensor) -> Tensor:
    """Returns weights as they are trained and run; half-precision files are widened."""
    return tensor.to(torch.float32).contiguous()
