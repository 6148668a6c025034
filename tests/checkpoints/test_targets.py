from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import helpers
from modelscope_beit.checkpoints.source import open_source
from modelscope_beit.checkpoints.targets import timm_model, write_timm, write_transformers, write_unilm
from modelscope_beit.errors import CheckpointError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.model import ModelSettings, model_settings
from modelscope_beit.settings.preprocessing import Resize, evaluation_steps

SIZE: dict[str, Any] = {"width": 128, "num_heads": 4, "depth": 2, "mlp_hidden": 200, "image_size": (64, 64)}
NETWORKS = {
    "beitv2": model_settings("beitv2", "base", num_classes=5, **SIZE),
    "beitv2 of 8 pixel patches": model_settings("beitv2", "base", num_classes=5, patch_size=8, **SIZE),
    "shared table, absolute positions, class token": model_settings(
        "beit", "base", num_classes=5, relative_position="shared", absolute_position=True, pooling="class_token", **SIZE
    ),
    "no layer scale": model_settings("beit", "base", num_classes=5, **(SIZE | {"layer_scale_init": None})),
    "vit": model_settings("vit", "base", num_classes=5, **SIZE),
    "distilled deit": model_settings("vit", "base", num_classes=5, distilled=True, pooling="two_tokens", **SIZE),
}
ONE_HEAD = model_settings("vit", "base", num_classes=5, distilled=True, **SIZE)
STEPS = {
    "crop 0.95": evaluation_steps(64, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), crop_pct=0.95),
    "crop 0.875": evaluation_steps(64, mean=(127.5,) * 3, std=(127.5,) * 3, crop_pct=0.875, interpolation="bilinear"),
    "squash": evaluation_steps(64, mean=(127.5,) * 3, std=(127.5,) * 3, squash=True),
    "squash and crop": evaluation_steps(64, mean=(127.5,) * 3, std=(127.5,) * 3, squash=True, resize=72),
}


def network_of(settings: ModelSettings) -> BeitClassifier:
    return helpers.with_random_weights(build_classifier(settings)).eval()


def folder_settings(settings: ModelSettings, steps: str = "crop 0.95") -> FolderSettings:
    return FolderSettings(settings, STEPS[steps], helpers.TINY_CLASSES)


@pytest.mark.parametrize("name", NETWORKS)
def test_write_timm__is_opened_by_timm(tmp_path: Path, logits: Any, name: str) -> None:
    timm = pytest.importorskip("timm", reason="the oracle is timm")
    ours = network_of(NETWORKS[name])
    write_timm(tmp_path / "out", folder_settings(ours.settings), ours.state_dict())
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert (logits(theirs) - logits(ours)).abs().max() < 1e-5
    assert theirs.pretrained_cfg["label_names"] == list(helpers.TINY_CLASSES)


@pytest.mark.parametrize("settings", [*NETWORKS.values(), ONE_HEAD])
def test_write_transformers__is_opened_by_transformers(tmp_path: Path, logits: Any, settings: ModelSettings) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    ours = network_of(settings)
    write_transformers(tmp_path / "out", folder_settings(ours.settings), ours.state_dict())
    theirs, loading = transformers.AutoModelForImageClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(loading.values()), loading
    assert (logits(theirs) - logits(ours)).abs().max() < 1e-5
    assert theirs.config.layer_norm_eps == 1e-6
    assert theirs.config.id2label == dict(enumerate(helpers.TINY_CLASSES))


@pytest.mark.parametrize("steps", STEPS)
def test_write_timm__pixels_are_ours(tmp_path: Path, photographs: tuple[Image.Image, ...], steps: str) -> None:
    timm_data = pytest.importorskip("timm.data", reason="the oracle is timm")
    timm = pytest.importorskip("timm", reason="the oracle is timm")
    ours = network_of(NETWORKS["beitv2"])
    write_timm(tmp_path / "out", folder_settings(ours.settings, steps), ours.state_dict())
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    transform = timm_data.create_transform(**timm_data.resolve_model_data_config(theirs), is_training=False)
    for picture in photographs:
        difference = transform(picture) - EvaluationTransform(STEPS[steps])(picture)
        assert difference.abs().max() < 1e-5


def test_write_transformers__processor_of_the_folder_gives_our_pixels(
    tmp_path: Path, photographs: tuple[Image.Image, ...]
) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    ours = network_of(NETWORKS["beitv2"])
    pillow = folder_settings(ours.settings, "squash")
    # All that can be said of steps is in test_image_processors.py.
    assert "Pillow" in write_transformers(tmp_path / "pillow", pillow, ours.state_dict())[0]
    steps = tuple(
        replace(step, backend="torchvision") if isinstance(step, Resize) else step for step in STEPS["squash"]
    )
    assert write_transformers(tmp_path / "out", replace(pillow, preprocessing=steps), ours.state_dict()) == ()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert type(processor) is transformers.BeitImageProcessor
    for picture in photographs:
        theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
        assert (theirs - EvaluationTransform(steps)(picture)).abs().max() <= 1e-6


@pytest.mark.parametrize("write", [write_timm, write_transformers])
@pytest.mark.parametrize("name", NETWORKS)
def test_write__is_read_back_bit_equal(tmp_path: Path, write: Any, name: str) -> None:
    ours = network_of(NETWORKS[name])
    write(tmp_path / "out", folder_settings(ours.settings), ours.state_dict())
    source = open_source(tmp_path / "out")
    assert source.settings == ours.settings
    if write is write_timm:
        assert source.preprocessing == STEPS["crop 0.95"]
    assert source.class_names == helpers.TINY_CLASSES
    state: dict[str, Tensor] = ours.state_dict()
    assert source.tensors.keys() == state.keys()
    assert all(torch.equal(source.tensors[key], state[key]) for key in state)


def test_write_unilm__is_what_its_programs_load(tmp_path: Path, timm_model: Any, logits: Any) -> None:
    """unilm takes the dict under `model`; timm has its key names and loads strictly."""
    ours = network_of(NETWORKS["beitv2"])
    write_unilm(tmp_path / "checkpoint.pth", ours.settings, ours.state_dict())
    content = torch.load(tmp_path / "checkpoint.pth", weights_only=True)
    assert content.keys() == {"model"}
    theirs = timm_model("beitv2_base_patch16_224", num_heads=4, mlp_ratio=200 / 128)
    theirs.load_state_dict(content["model"], strict=True)
    assert (logits(theirs) - logits(ours)).abs().max() < 1e-5


def test_write_unilm__refuses_a_vit(tmp_path: Path) -> None:
    ours = network_of(NETWORKS["vit"])
    with pytest.raises(CheckpointError, match=r"no place for .*attn\.qkv\.bias"):
        write_unilm(tmp_path / "vit.pth", ours.settings, ours.state_dict())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [write_timm, write_transformers])
def test_write__never_into_a_folder_with_something_in_it(tmp_path: Path, write: Any) -> None:
    (tmp_path / "notes.txt").touch()
    ours = network_of(NETWORKS["beitv2"])
    with pytest.raises(CheckpointError, match="not an empty folder"):
        write(tmp_path, folder_settings(ours.settings), ours.state_dict())


@pytest.mark.parametrize(
    ("write", "change"),
    [
        (write_timm, {"layer_norm_eps": 1e-5}),
        (write_timm, {"qkv_bias": "full"}),
        (write_transformers, {"qkv_bias": "full"}),
        (write_transformers, {"qkv_bias": "none"}),
    ],
)
def test_write__refuses_a_network_that_the_library_has_not(tmp_path: Path, write: Any, change: dict[str, Any]) -> None:
    ours = network_of(model_settings("beitv2", "base", num_classes=5, **SIZE, **change))
    with pytest.raises(CheckpointError):
        write(tmp_path / "out", folder_settings(ours.settings), ours.state_dict())
    assert not (tmp_path / "out").exists()


def test_write_timm__refuses_a_distilled_network_with_one_head(tmp_path: Path) -> None:
    ours = network_of(ONE_HEAD)
    with pytest.raises(CheckpointError, match="a head for each of its tokens"):
        write_timm(tmp_path / "out", folder_settings(ours.settings), ours.state_dict())


@pytest.mark.parametrize("write", [write_timm, write_transformers])
def test_write__refuses_a_hidden_layer(tmp_path: Path, write: Any) -> None:
    ours = network_of(replace(NETWORKS["vit"], hidden_width=96))
    with pytest.raises(CheckpointError, match=r"no place for head\.pre_logits"):
        write(tmp_path / "out", folder_settings(ours.settings), ours.state_dict())


def test_timm_model__ratio_gives_the_very_number_of_hidden_channels() -> None:
    for hidden in range(1, 600, 7):
        settings = model_settings("beitv2", "base", width=96, num_heads=3, mlp_hidden=hidden)
        assert int(96 * timm_model(settings)[1]["mlp_ratio"]) == hidden
