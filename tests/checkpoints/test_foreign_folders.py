import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.checkpoints.foreign_folders import read_timm_folder, read_transformers_folder, weights_in
from modelscope_beit.errors import CheckpointError
from modelscope_beit.images.evaluation_transform import EvaluationTransform

BEIT = {"model_type": "beit", "architectures": ["BeitForImageClassification"], "image_size": 64}


def folder_with(tmp_path: Path, **files: dict[str, Any]) -> Path:
    """A folder with an empty weight file and the given JSON files."""
    (tmp_path / "model.safetensors").touch()
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "processor", "arguments"),
    [
        ("beit", "BeitImageProcessorPil", {"size": {"height": 64, "width": 64}}),
        ("vit", "ViTImageProcessorPil", {"size": {"height": 64, "width": 64}}),
        (
            "vit",
            "DeiTImageProcessorPil",
            {"size": {"height": 72, "width": 72}, "crop_size": {"height": 64, "width": 64}},
        ),
        (
            "beit",
            "BeitImageProcessorPil",
            {"size": {"height": 64, "width": 64}, "resample": 2, "image_mean": [0.1] * 3, "image_std": [0.3] * 3},
        ),
        ("deit", "DeiTImageProcessorPil", {"size": {"height": 73, "width": 73}, "crop_size": 64}),
        (
            "vit",
            "BitImageProcessorPil",
            {"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}, "resample": 3},
        ),
    ],
)
def test_read_transformers_folder__pixels_are_those_of_its_pil_processor(
    tmp_path: Path, photographs: tuple[Image.Image, ...], kind: str, processor: str, arguments: dict[str, Any]
) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    if not hasattr(transformers, processor):
        pytest.skip(f"this transformers has no {processor}")
    theirs = getattr(transformers, processor)(**arguments)
    theirs.save_pretrained(tmp_path)
    folder = read_transformers_folder(folder_with(tmp_path, config=BEIT | {"model_type": kind}))
    ours = EvaluationTransform(folder.recipe.steps((64, 64)))
    for picture in photographs:
        expected = theirs(picture, return_tensors="pt")["pixel_values"][0]
        assert (ours(picture) - expected).abs().max() < 1e-5


def test_read_transformers_folder__without_processor_has_the_librarys_defaults(tmp_path: Path) -> None:
    recipe = read_transformers_folder(folder_with(tmp_path, config=BEIT)).recipe
    assert (recipe.mean, recipe.std, recipe.squash, recipe.interpolation) == ((0.5,) * 3, (0.5,) * 3, True, "bicubic")
    recipe = read_transformers_folder(folder_with(tmp_path, config={"model_type": "vit"})).recipe
    assert recipe.interpolation == "bilinear"


def test_read_transformers_folder__settings_and_names(tmp_path: Path) -> None:
    config = BEIT | {
        "layer_norm_eps": 1e-6,
        "num_attention_heads": 4,
        "use_mean_pooling": False,
        "image_size": [32, 64],
    }
    config["id2label"] = {"10": "k", "2": "c", "1": "b", "0": "a"}
    folder = read_transformers_folder(folder_with(tmp_path, config=config))
    hints = folder.hints
    assert (hints.num_heads, hints.layer_norm_eps, hints.pooling, hints.grid) == (4, 1e-6, "class_token", (2, 4))
    assert folder.class_names == ("a", "b", "c", "k")
    config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
    assert read_transformers_folder(folder_with(tmp_path, config=config)).class_names is None


@pytest.mark.parametrize("name", ["BeitImageProcessor", "ViTImageProcessor", "DeiTImageProcessor"])
def test_read_transformers_folder__silent_processor_file_means_the_defaults(tmp_path: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    theirs = getattr(transformers, name)()
    processor = {"image_processor_type": name}
    recipe = read_transformers_folder(folder_with(tmp_path, config=BEIT, preprocessor_config=processor)).recipe
    assert recipe.mean == tuple(theirs.image_mean) and recipe.std == tuple(theirs.image_std)
    resize = (theirs.size["height"], theirs.crop_size["height"]) if theirs.do_center_crop else None
    assert recipe.resize == resize


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_type": "swin"}, "swin"),
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"patch_size": [16, 8]}, "not square"),
    ],
)
def test_read_transformers_folder__refuses_other_networks(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        read_transformers_folder(folder_with(tmp_path, config=BEIT | change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"do_resize": False}, "do_resize"),
        ({"image_mean": [0.5]}, "three numbers"),
    ],
)
def test_read_transformers_folder__refuses_other_pixels(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected):
        read_transformers_folder(folder_with(tmp_path, config=BEIT, preprocessor_config=change))


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("crop_pct", [0.9, 0.95, 1.0])
def test_read_timm_folder__pixels_are_those_of_timm(
    tmp_path: Path, photographs: tuple[Image.Image, ...], crop_mode: str, crop_pct: float
) -> None:
    timm_data = pytest.importorskip("timm.data", reason="the oracle is timm")
    pretrained = {
        "input_size": [3, 64, 64],
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
        "interpolation": "bicubic",
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.4],
    }
    config = {"architecture": "beitv2_base_patch16_224", "num_classes": 5, "pretrained_cfg": pretrained}
    recipe = read_timm_folder(folder_with(tmp_path, config=config)).recipe
    ours = EvaluationTransform(recipe.steps((64, 64)))
    theirs = timm_data.create_transform(**(pretrained | {"input_size": (3, 64, 64)}), is_training=False)
    for picture in photographs:
        assert np.abs((ours(picture) - theirs(picture)).numpy()).max() < 1e-5


def test_read_timm_folder__old_flat_file_and_labels(tmp_path: Path) -> None:
    config = {"architecture": "beit_base_patch16_224", "num_classes": 2, "mean": [0.5] * 3, "std": [0.5] * 3}
    config |= {"crop_pct": 0.9, "input_size": [3, 224, 224], "label_names": ["n1", "n2"]}
    folder = read_timm_folder(folder_with(tmp_path, config=config))
    assert folder.recipe.mean == (0.5, 0.5, 0.5)
    assert folder.class_names == ("n1", "n2")


@pytest.mark.parametrize("change", [{"model_args": {"act_layer": "relu"}}, {"pretrained_cfg": {"crop_mode": "border"}}])
def test_read_timm_folder__refuses_what_cannot_be_expressed(tmp_path: Path, change: dict[str, Any]) -> None:
    config = {"architecture": "vit_base_patch16_224"} | change
    with pytest.raises(CheckpointError, match="act_layer|border"):
        read_timm_folder(folder_with(tmp_path, config=config))


def test_read_timm_folder__broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_timm_folder(tmp_path)


def test_weights_in__looks_for_index_too(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is none"):
        weights_in(tmp_path)
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    assert weights_in(tmp_path).name == "pytorch_model.bin.index.json"
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert weights_in(tmp_path).name == "pytorch_model.bin"
