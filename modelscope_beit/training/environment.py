"""Where a run took place: interpreter, libraries, processors. Told as mmcv's collect_env tells it, without mmcv."""

import importlib.metadata
import os
import platform
import sys
from collections import defaultdict

import torch

from modelscope_beit import __version__, names

# Whose versions change what a run computes; told if they are installed.
_LIBRARIES = ("torchvision", "accelerate", "modelscope", "datasets", "numpy", "pillow", "safetensors")


def environment() -> dict[str, str]:
    """Returns name -> value, those that mmcv 1.7.2 tells under its names and in its order, then ours."""
    found = {
        "sys.platform": sys.platform,
        "Python": sys.version.replace("\n", ""),
        "CUDA available": str(torch.cuda.is_available()),
        **_gpus(),
        "PyTorch": torch.__version__,
        "PyTorch compiling details": torch.__config__.show().strip(),
    }
    processor = f"{platform.machine()}, {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    libraries = versions()
    if "torchvision" in libraries:
        found["TorchVision"] = libraries["torchvision"]
    return found | {"Processor": processor} | libraries


def environment_info() -> str:
    """Returns the environment as the text that mm's logs begin with and its checkpoints keep under env_info."""
    return "\n".join(f"{name}: {value}" for name, value in environment().items())


def versions() -> dict[str, str]:
    """Returns name -> version of this package and of the libraries that it computes with."""
    found = {names.DISTRIBUTION: __version__, "torch": torch.__version__}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _gpus() -> dict[str, str]:
    """Returns "GPU 0,1" -> their name; the versions of CUDA and cuDNN that torch brings."""
    if not torch.cuda.is_available():
        return {}
    numbers = defaultdict(list)
    for number in range(torch.cuda.device_count()):
        numbers[torch.cuda.get_device_name(number)].append(str(number))
    gpus = {f"GPU {','.join(found)}": name for name, found in numbers.items()}
    return gpus | {"CUDA": str(torch.version.cuda), "CuDNN": str(torch.backends.cudnn.version())}
