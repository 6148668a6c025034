"""An opened model -> the same one with a faster road from the file to its network."""

from dataclasses import replace

from modelscope_beit.errors import SettingsError
from modelscope_beit.images.fast_transform import FastTransform
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.network.byte_input import of_bytes
from modelscope_beit.settings.foreign_steps import ForeignSteps, Preprocessing


def fast_transform(preprocessing: Preprocessing, *, as_bytes: bool = False) -> FastTransform:
    """Returns the fast transform of a folder's steps. Raises SettingsError if there is no fast way to make them."""
    if isinstance(preprocessing, ForeignSteps):
        reasons = " ".join(preprocessing.reasons)
        raise SettingsError(f"There is no fast decoding for steps of the preprocessor that mmcls makes: {reasons}")
    return FastTransform(preprocessing, as_bytes=as_bytes)


def fast_decoding(model: OpenedModel) -> OpenedModel:
    """Returns the model with a transform whose pixels stay bytes, and a network that takes them; it shares the weights.

    Raises SettingsError if there is no fast way to make its steps.
    """
    transform = fast_transform(model.settings.preprocessing, as_bytes=True)
    return replace(model, transform=transform, network=of_bytes(model.network, transform.normalize))
