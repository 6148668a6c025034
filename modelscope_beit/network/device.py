"""From the name of a device to the device, or to a word about what is there instead. torch only."""

import torch

from modelscope_beit.errors import SettingsError


def find_device(wanted: str) -> torch.device:
    """Returns the device of a name: "cpu", "cuda", "cuda:1", ModelScope's "gpu" and "gpu:1", "mps", or "auto".

    "auto" is the current GPU if there is one, else the processor. Raises SettingsError, naming what there is, if the
    device is not there; torch itself would say so only when the first tensor is moved.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = wanted.replace("gpu", "cuda", 1) if wanted.startswith("gpu") else wanted
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"The device is {wanted!r}, but cpu, cuda, cuda:NUMBER, mps or auto is expected."
        ) from error
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        raise SettingsError(
            f"The device is {wanted!r}, but torch {torch.__version__} sees {_counted(num_gpus)}. Use the device cpu, "
            "or check the driver and that torch was built for CUDA."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(f"The device is {wanted!r}, but there is none here. Use the device cpu.")
    return device


def _counted(num_gpus: int) -> str:
    return {0: "no GPU", 1: "1 GPU, cuda:0"}.get(num_gpus, f"{num_gpus} GPUs, cuda:0 to cuda:{num_gpus - 1}")
