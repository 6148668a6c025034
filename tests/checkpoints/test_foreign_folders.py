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
from modelscope_beit.settings.preprocessing import Resize

BEIT = {"model_type": "beit", "architectures": ["BeitForImageClassification"], "image_size": 64}


def folder_with(tmp_path: Path, **files: dict[str, Any]) -> Path:
    """A folder with an empty weight file and the given JSON files."""
    (tmp_path / "model.safetensors").touch()
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_read_transformers_folder__processor_of_the_model_type(tmp_path: Path) -> None:
    recipe = read_transformers_folder(folder_with(tmp_path, config=BEIT)).recipe
    assert recipe.steps((64, 64))[1] == Resize((64, 64), interpolation="bicubic", backend="torchvision")
    recipe = read_transformers_folder(folder_with(tmp_path, config={"model_type": "vit"})).recipe
    assert recipe.steps((224, 224))[1] == Resize((224, 224), interpolation="bilinear", backend="torchvision")


def test_read_transformers_folder__processor_of_another_size_follows_the_network(tmp_path: Path) -> None:
    processor = {"size": {"height": 128, "width": 128}}
    folder = read_transformers_folder(folder_with(tmp_path, config=BEIT, preprocessor_config=processor))
    assert "its processor makes 128x128 pixels" in folder.title
    assert folder.recipe.steps((64, 64))[1].size == (64, 64)  # type: ignore[union-attr]


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
