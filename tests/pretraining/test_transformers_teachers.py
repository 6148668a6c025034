"""CLIP, DINO, DINOv2 and DINOv3 of transformers with random weights, against their own forward passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.pretraining.teacher_networks import open_teacher
from modelscope_beit.settings.teacher import read_teacher

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def images(side: int) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def scaled(values: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def with_lively_weights(network: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return network.eval()


def clip(folder: Path) -> Any:
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=SIZES, projection_dim=12)
    network = with_lively_weights(transformers.CLIPModel(config))
    network.save_pretrained(folder)
    return network


@torch.no_grad()
def test_transformers_teacher__clip_gives_normalised_patches_times_its_projection(tmp_path: Path) -> None:
    network = clip(tmp_path)
    teacher = open_teacher(read_teacher(f"transformers:{tmp_path}"), (4, 4))
    assert (teacher.width, teacher.size) == (12, (32, 32))
    seen = scaled(images(32), *CLIP)
    vision = network.vision_model
    states = vision(pixel_values=seen).last_hidden_state
    # What CLIP itself does to its class token, done to every token.
    everything = vision.post_layernorm(states) @ network.visual_projection.weight.T
    torch.testing.assert_close(
        everything[:, 0], vision(pixel_values=seen).pooler_output @ network.visual_projection.weight.T
    )
    torch.testing.assert_close(teacher(images(32)), everything[:, 1:], rtol=1e-4, atol=1e-5)


def plain(kind: str, folder: Path) -> Any:
    makers = {
        "dino": (transformers.ViTConfig, transformers.ViTModel, {}),
        "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model, {"mlp_ratio": 2}),
        "dinov2_with_registers": (
            transformers.Dinov2WithRegistersConfig,
            transformers.Dinov2WithRegistersModel,
            {"mlp_ratio": 2, "num_register_tokens": 3},
        ),
        "dinov3": (transformers.DINOv3ViTConfig, transformers.DINOv3ViTModel, {"num_register_tokens": 2}),
    }
    config, network, options = makers[kind]
    made = with_lively_weights(network(config(**SIZES | options)))
    made.save_pretrained(folder)
    return made


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dino", "dinov2", "dinov2_with_registers", "dinov3"])
def test_transformers_teacher__gives_the_last_patch_tokens(tmp_path: Path, kind: str) -> None:
    network = plain(kind, tmp_path)
    teacher = open_teacher(read_teacher(f"transformers:{tmp_path}"), (4, 4))
    states = network(pixel_values=scaled(images(32), *IMAGENET)).last_hidden_state
    torch.testing.assert_close(teacher(images(32)), states[:, -16:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "dino", "dinov2"])
def test_transformers_teacher__sees_as_many_pixels_as_give_the_grid(tmp_path: Path, kind: str) -> None:
    network = clip(tmp_path).vision_model if kind == "clip" else plain(kind, tmp_path)
    teacher = open_teacher(read_teacher(f"transformers:{tmp_path}"), (6, 6))
    assert teacher.size == (48, 48)
    options = {} if kind == "dinov2" else {"interpolate_pos_encoding": True}
    states = network(pixel_values=scaled(images(48), *(CLIP if kind == "clip" else IMAGENET)), **options)
    tokens = states.last_hidden_state[:, 1:]
    if kind == "clip":
        tokens = teacher.network.visual_projection(network.post_layernorm(tokens))
    torch.testing.assert_close(teacher(images(48)), tokens, rtol=1e-4, atol=1e-5)
    assert teacher(images(24)).shape == (2, 36, tokens.shape[2])


def test_transformers_teacher__takes_the_scaling_of_the_processor_beside_it(tmp_path: Path) -> None:
    plain("dino", tmp_path)
    transformers.ViTImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    teacher = open_teacher(read_teacher(f"transformers:{tmp_path}"), (4, 4))
    assert teacher.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert teacher.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_transformers_teacher__may_see_another_number_of_pixels(tmp_path: Path) -> None:
    plain("dinov2", tmp_path)
    teacher = open_teacher(read_teacher(f"transformers:{tmp_path}", 64), (4, 4))
    assert teacher.size == (64, 64) and teacher(images(32)).shape == (2, 16, 32)


def test_transformers_teacher__refuses_clip_without_its_projection(tmp_path: Path) -> None:
    # transformers would draw a random one and go on.
    clip(tmp_path / "whole").vision_model.save_pretrained(tmp_path / "part")
    with pytest.raises(CheckpointError, match=r"lacks weights of CLIPVisionModelWithProjection: visual_projection"):
        open_teacher(read_teacher(f"transformers:{tmp_path / 'part'}"), (4, 4))


def test_transformers_teacher__refuses_other_networks_and_empty_folders(tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(SettingsError, match="is of the kind 'bert', but one of clip"):
        open_teacher(read_teacher(f"transformers:{tmp_path / 'bert'}"), (4, 4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="transformers cannot open the teacher"):
        open_teacher(read_teacher(f"transformers:{tmp_path / 'empty'}"), (4, 4))
