"""Opens a masked-image model: settings, network with its weights, preprocessing. Never touches the network."""

from dataclasses import dataclass
from pathlib import Path

from modelscope_beit.checkpoints.masked_image import masked_image_model_with, open_masked_image_source
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.network.device import find_device
from modelscope_beit.network.masked_image_model import MaskedImageModel
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.preprocessing import Step


@dataclass(frozen=True)
class OpenedMaskedImageModel:
    """A masked-image model, ready to guess visual tokens.

    network: in eval mode; images (N, 3, H, W), normalised, and a mask (N, P), bool -> logits (N, P, V).
    transform: picture -> (3, H, W), as the network wants it; preprocessing: its steps.
    """

    path: Path
    settings: MaskedImageModelSettings
    network: MaskedImageModel
    preprocessing: tuple[Step, ...]
    transform: EvaluationTransform


def open_masked_image_model(path: str | Path, *, device: str = "cpu") -> OpenedMaskedImageModel:
    """Returns the masked-image model of a folder or weight file of transformers' BeitForMaskedImageModeling.

    device: any name that network/device.py knows. To start a classifier from such a folder, use `beit convert`.
    Raises SettingsError for the device, CheckpointError for what is missing, unknown or does not fit together,
    UntrustedCodeError for pickles with code.
    """
    found_device = find_device(device)
    path = Path(path).expanduser()
    source = open_masked_image_source(path)
    network = masked_image_model_with(source.settings, source.tensors)
    return OpenedMaskedImageModel(
        path=path,
        settings=source.settings,
        network=network.to(found_device).eval(),
        preprocessing=source.preprocessing,
        transform=EvaluationTransform(source.preprocessing),
    )
