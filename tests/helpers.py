"""What several test folders need: where the sources are, real pictures, a network with weights that matter."""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "modelscope_beit"

TINY_CLASSES = ("cat", "dog", "red fox, Vulpes vulpes", "中文", "n02119789")

# The hub's vocabulary, as the stock classes read it. The sizes are those of the fixture `tiny_settings`.
TINY_CONFIGURATION: dict[str, Any] = {
    "framework": "pytorch",
    "task": "image-classification",
    "pipeline": {"type": "common-image-classification"},
    "model": {
        "type": "ClassificationModel",
        "mm_model": {
            "type": "ImageClassifier",
            "backbone": {
                "type": "BEiTv2",
                "arch": {"embed_dims": 32, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64},
                "img_size": 32,
                "patch_size": 8,
                "qkv_bias": True,
                "init_values": 0.1,
                "use_abs_pos_emb": False,
                "use_rel_pos_bias": True,
                "use_mean_pooling": True,
            },
            "neck": None,
            "head": {
                "type": "LinearClsHead",
                "num_classes": 5,
                "in_channels": 32,
                "loss": {"type": "CrossEntropyLoss"},
            },
        },
    },
    "dataset": {"classes": None},
    "preprocessor": {
        "type": "image-classification-bypass-preprocessor",
        "val": [
            {"type": "LoadImageFromFile"},
            {"type": "Resize", "size": [36, -1], "backend": "pillow", "interpolation": "bicubic"},
            {"type": "CenterCrop", "crop_size": 32},
            {
                "type": "Normalize",
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "to_rgb": True,
            },
            {"type": "ImageToTensor", "keys": ["img"]},
            {"type": "Collect", "keys": ["img"]},
        ],
    },
}

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def with_random_weights(network: Network, seed: int = 0) -> Network:
    """Returns the network with small random numbers added to every weight, so that each of them changes the output."""
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return network


def calibrate_by_hand(
    folder: Path, temperature: float, unknown_below: float, weights: str = "pytorch_model.pt"
) -> None:
    """Writes into a folder's configuration.json what `beit calibrate` stores."""
    file = folder / "configuration.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["confidence"] = {
        "temperature": temperature,
        "unknown_below": unknown_below,
        "false_alarm_rate": 0.05,
        "pictures": 100,
        "data": "photos",
        "weights": f"sha256:{hashlib.sha256((folder / weights).read_bytes()).hexdigest()}",
    }
    file.write_text(json.dumps(content), encoding="utf-8")


def photographs() -> tuple[Image.Image, ...]:
    """Returns the two photographs that scikit-learn ships (640 x 427, RGB)."""
    from sklearn.datasets import load_sample_image

    return tuple(Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))


def source_files() -> list[Path]:
    """Returns every Python file of the package, sorted."""
    return sorted(PACKAGE.rglob("*.py"))


def short_id(value: object) -> str:
    """Returns a name for a parameter: short, and the same in every process that runs tests, so without addresses."""
    text = str(value)
    return type(value).__name__ if " at 0x" in text or len(text) > 60 else text
