"""Small models of every kind that the README's table of siblings names, as their own libraries leave and run them.

Each builder writes a folder and returns what its library answers: a picture to logits (K,). Weights are random, but
large enough that a wrong one shows; input is 64 pixels, so that the networks are quick.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import helpers

Answer = Callable[[Image.Image], Tensor]
SIDE = 64
_MIXING = [{"type": "BatchMixup", "alpha": 0.8, "prob": 0.5}, {"type": "BatchCutMix", "alpha": 1.0, "prob": 0.5}]


def _steps(side: int) -> list[dict[str, Any]]:
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "size": [side * 9 // 8, -1], "backend": "pillow", "interpolation": "bicubic"},
        {"type": "CenterCrop", "crop_size": side},
        {
            "type": "Normalize",
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "to_rgb": True,
        },
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]


def with_weights(network: nn.Module) -> nn.Module:
    """Returns the network in eval mode with weights of a size that keeps signals alive, and moving statistics."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim <= 1:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif "coords" not in name:
            tensor.normal_(std=max(0.02, tensor[0].numel() ** -0.5), generator=generator)
    return network.eval()


def write_hub_folder(
    folder: Path, network: nn.Module, mm_model: dict[str, Any], class_names: list[str], pipeline: str, side: int
) -> None:
    """Writes a folder as the hub has it: configuration, weights with their class names."""
    configuration = {
        "framework": "pytorch",
        "task": "image-classification",
        "pipeline": {"type": pipeline},
        "model": {"type": "ClassificationModel", "mm_model": mm_model},
        "dataset": {"classes": None},
        "preprocessor": {"type": "image-classification-bypass-preprocessor", "val": _steps(side)},
    }
    folder.mkdir(parents=True)
    (folder / "configuration.json").write_text(json.dumps(configuration), encoding="utf-8")
    torch.save({"state_dict": network.state_dict(), "meta": {"CLASSES": class_names}}, folder / "pytorch_model.pt")


def of_mmcls(
    folder: Path,
    mm_model: dict[str, Any],
    class_names: list[str],
    pipeline: str = "common-image-classification",
    *,
    built_as: dict[str, Any] | None = None,
    side: int = SIDE,
) -> Answer:
    """Writes a hub folder whose network mmcls has built; built_as: what it was built of, if that is spelt otherwise."""
    # Registers BEiTv2 and NextViT in mmcls.
    import modelscope.models.cv.image_classification.backbones  # noqa: F401
    from mmcls.datasets.pipelines import Compose
    from mmcls.models import build_classifier
    from mmcv import ConfigDict

    network = with_weights(build_classifier(ConfigDict(built_as or mm_model)))
    write_hub_folder(folder, network, mm_model, class_names, pipeline, side)
    # As ModelScope's stock preprocessor does: mmcls takes no JSON list as a size.
    steps = [step | ({"size": tuple(step["size"])} if "size" in step else {}) for step in _steps(side)[1:]]
    compose = Compose([ConfigDict(step) for step in steps])

    def answer(picture: Image.Image) -> Tensor:
        image = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
        pixels = compose({"img": image, "img_shape": image.shape, "ori_shape": image.shape, "filename": None})["img"]
        with torch.no_grad():
            logits: Tensor = network(pixels[None], return_loss=False, softmax=False, post_process=False)
        return logits[0]

    return answer


def beitv2(folder: Path) -> Answer:
    """The hub's BEiT v2; its library is ModelScope's own backbone on mmcls."""
    from modelscope.models.cv.image_classification.backbones import BEiTv2

    mm_model = copy.deepcopy(helpers.TINY_CONFIGURATION["model"]["mm_model"])
    mm_model["backbone"]["img_size"] = SIDE
    built_as = copy.deepcopy(mm_model)
    built_as["backbone"]["arch"] = "tiny"
    for table, value in (("embed_dims", 32), ("depths", 2), ("num_heads", 2), ("mlp_ratios", 2)):
        getattr(BEiTv2, table)["tiny"] = value
    return of_mmcls(folder, mm_model, list(helpers.TINY_CLASSES), built_as=built_as)


def vit(folder: Path, num_classes: int, pipeline: str, side: int = SIDE) -> Answer:
    """The hub's ViT-base, with the losses and the mixing of the courses' recipe."""
    mm_model = {
        "type": "ImageClassifier",
        "backbone": {
            "type": "VisionTransformer",
            "arch": {"embed_dims": 48, "num_layers": 2, "num_heads": 3, "feedforward_channels": 96},
            "img_size": side,
            "patch_size": 16,
        },
        "head": {
            "type": "VisionTransformerClsHead",
            "num_classes": num_classes,
            "in_channels": 48,
            "loss": {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "classy_vision"},
        },
        "train_cfg": {"augments": [step | {"num_classes": num_classes} for step in _MIXING]},
    }
    return of_mmcls(folder, mm_model, numbered("类别", num_classes), pipeline, side=side)


def deit(folder: Path) -> Answer:
    """mmcls's distilled DeiT: two tokens, two heads."""
    mm_model = {
        "type": "ImageClassifier",
        "backbone": {
            "type": "DistilledVisionTransformer",
            "arch": {"embed_dims": 48, "num_layers": 2, "num_heads": 3, "feedforward_channels": 96},
            "img_size": SIDE,
            "patch_size": 16,
        },
        "head": {"type": "DeiTClsHead", "num_classes": 10, "in_channels": 48},
    }
    return of_mmcls(folder, mm_model, numbered("class", 10))


def swin(folder: Path) -> Answer:
    """mmcls's Swin Transformer."""
    mm_model = {
        "type": "ImageClassifier",
        "backbone": {
            "type": "SwinTransformer",
            "arch": {"embed_dims": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
            "img_size": SIDE,
            "pad_small_map": True,
        },
        "neck": {"type": "GlobalAveragePooling"},
        "head": {"type": "LinearClsHead", "num_classes": 10, "in_channels": 128},
    }
    return of_mmcls(folder, mm_model, numbered("class", 10))


def convnext(folder: Path) -> Answer:
    """The hub's ConvNeXt of 265 kinds of garbage."""
    mm_model = {
        "type": "ImageClassifier",
        "backbone": {
            "type": "ConvNeXt",
            "arch": {"depths": [1, 1, 2, 1], "channels": [16, 32, 48, 64]},
            "out_indices": [3],
            "gap_before_final_norm": True,
        },
        "head": {
            "type": "LinearClsHead",
            "num_classes": 265,
            "in_channels": 64,
            "loss": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
        },
    }
    return of_mmcls(folder, mm_model, numbered("垃圾", 265), "convnext-base_image-classification_garbage")


def nextvit(folder: Path) -> Answer:
    """The hub's NextViT of 1,300 everyday classes; its smallest form."""
    mm_model = {
        "type": "ImageClassifier",
        "backbone": {"type": "NextViT", "arch": "x_small", "path_dropout": 0.1},
        "neck": {"type": "GlobalAveragePooling"},
        "head": {"type": "LinearClsHead", "num_classes": 1300, "in_channels": 1024},
    }
    return of_mmcls(folder, mm_model, numbered("类别", 1300), "nextvit-small_image-classification_Dailylife-labels")


def numbered(word: str, count: int) -> list[str]:
    """Returns class names that are all different."""
    return [f"{word}{number}" for number in range(count)]


def transformers_beit(folder: Path) -> Answer:
    """transformers' BeitForImageClassification, with its image processor."""
    return _of_transformers(folder, "BeitForImageClassification", lambda output: output.logits[0], id2label=_ID2LABEL)


def transformers_beit_model(folder: Path) -> Answer:
    """transformers' BeitModel, which has no head: what it answers is its pooled output."""
    return _of_transformers(folder, "BeitModel", lambda output: output.pooler_output[0])


def transformers_masked_image_model(folder: Path) -> Answer:
    """transformers' BeitForMaskedImageModeling: logits of the visual tokens (P * V,) under MASK."""
    return _of_transformers(
        folder,
        "BeitForMaskedImageModeling",
        lambda output: output.logits[0].flatten(),
        is_masked=True,
        use_mask_token=True,
        vocab_size=64,
        use_relative_position_bias=False,
        use_shared_relative_position_bias=True,
    )


def transformers_segmentation(folder: Path) -> Answer:
    """transformers' BeitForSemanticSegmentation: logits (K * H/4 * W/4,)."""
    return _of_transformers(
        folder,
        "BeitForSemanticSegmentation",
        lambda output: output.logits[0].flatten(),
        id2label=_ID2LABEL,
        num_hidden_layers=4,
        out_indices=[1, 2, 3, 4],
        auxiliary_channels=8,
    )


def timm_beitv2(folder: Path) -> Answer:
    """timm's BEiT v2, in the folder of the hub that timm reads."""
    arguments = {"img_size": SIDE, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return _of_timm(folder, "beitv2_base_patch16_224", arguments, mean=0.5, crop_pct=0.9)


def timm_bit(folder: Path) -> Answer:
    """timm's BigTransfer network, in small: no network of its own size, but its layers."""
    arguments = {"channels": [128, 128, 128, 128], "stem_chs": 32}
    return _of_timm(folder, "resnetv2_50x1_bit", arguments, mean=0.5, crop_pct=1.0)


# Every third patch, of 16.
MASK = (torch.arange(16) % 3 == 0)[None]
_ID2LABEL = dict(enumerate(numbered("class", 10)))


def _of_transformers(
    folder: Path, kind: str, chosen: Callable[[Any], Tensor], *, is_masked: bool = False, **configuration: Any
) -> Answer:
    import transformers

    transformers.logging.set_verbosity_error()
    values = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": SIDE,
        "patch_size": 16,
        "use_relative_position_bias": True,
    } | configuration
    model = with_weights(getattr(transformers, kind)(transformers.BeitConfig(**values)))
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.BeitImageProcessor(size=size, crop_size=size, do_center_crop=False).save_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)

    def answer(picture: Image.Image) -> Tensor:
        inputs = processor(picture, return_tensors="pt")
        with torch.no_grad():
            return chosen(model(**inputs, bool_masked_pos=MASK) if is_masked else model(**inputs))

    return answer


def _of_timm(folder: Path, architecture: str, arguments: dict[str, Any], *, mean: float, crop_pct: float) -> Answer:
    import timm
    from safetensors.torch import save_file

    network = with_weights(timm.create_model(architecture, num_classes=10, **arguments))
    pretrained = {
        "input_size": [3, SIDE, SIDE],
        "mean": [mean] * 3,
        "std": [mean] * 3,
        "interpolation": "bicubic",
        "crop_pct": crop_pct,
        "crop_mode": "center",
        "num_classes": 10,
        "label_names": numbered("class", 10),
    }
    configuration = {
        "architecture": architecture,
        "num_classes": 10,
        "model_args": arguments,
        "pretrained_cfg": pretrained,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(configuration))
    save_file(network.state_dict(), folder / "model.safetensors")
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=pretrained))

    def answer(picture: Image.Image) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(transform(picture)[None])
        return logits[0]

    return answer
