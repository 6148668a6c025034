import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import helpers
from modelscope_beit.checkpoints.load import classifier_with
from modelscope_beit.checkpoints.source import open_source
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.settings.configuration import FolderSettings, write_configuration
from modelscope_beit.settings.preprocessing import CenterCrop, Normalize, Resize, Step


def step_of(kind: type[Step], steps: tuple[Step, ...]) -> Any:
    return next(step for step in steps if isinstance(step, kind))


def test_open_source__unilm_file(unilm_file: Path, unilm_state: dict[str, Tensor]) -> None:
    source = open_source(unilm_file)
    assert source.layout == "unilm" and source.class_names is None
    assert source.settings.backbone.image_size == source.file_image_size == (64, 64)
    assert torch.equal(source.tensors["head.fc.weight"], unilm_state["head.weight"])
    # 64 / 0.875, rounded down; ImageNet's mean.
    assert step_of(Resize, source.preprocessing).size == (73, -1)
    assert step_of(Normalize, source.preprocessing).mean == pytest.approx((123.675, 116.28, 103.53))
    assert source.digest.startswith("sha256:")
    for expected in ("BEiT v2 (by the file's name)", "5 classes", "64x64", "weights from 'model'"):
        assert expected in source.description


def test_open_source__family_is_told_or_taken_by_default(unilm_file: Path, tmp_path: Path) -> None:
    bare = tmp_path / "checkpoint.pth"
    unilm_file.rename(bare)
    assert "by default" in open_source(bare).description
    told = open_source(bare, family="beit")
    assert "BEiT (as asked for)" in told.description
    assert step_of(Normalize, told.preprocessing).mean == pytest.approx((127.5, 127.5, 127.5))


def test_open_source__another_image_size(unilm_file: Path) -> None:
    source = open_source(unilm_file, image_size=(384, 384))
    assert source.settings.backbone.image_size == (384, 384) and source.file_image_size == (64, 64)
    # unilm evaluates 384 pixels and more without cutting off a border.
    assert step_of(Resize, source.preprocessing).size == (384, -1)
    assert "resized to 384x384" in source.description
    assert classifier_with(source.settings, source.tensors)(torch.zeros(1, 3, 384, 384)).shape == (1, 5)


def test_open_source__masked_image_file_gets_a_fresh_head(
    tmp_path: Path, masked_image_state: dict[str, Tensor]
) -> None:
    path = tmp_path / "beitv2_base_patch16_224_pt1k.pth"
    torch.save({"model": masked_image_state}, path)
    source = open_source(path, num_classes=37)
    assert source.layout == "unilm-pretraining" and source.settings.num_classes == 37
    assert "fresh: " in source.description and "head.fc.weight" in source.description
    assert classifier_with(source.settings, source.tensors)(torch.zeros(1, 3, 64, 64)).shape == (1, 37)
    assert open_source(path).settings.num_classes == 1000


def test_open_source__folder_of_masked_image_modelling_gets_a_fresh_head(
    tmp_path: Path, masked_image_state: dict[str, Tensor]
) -> None:
    """A model folder whose weights are those of pre-training, as `beit pretrain` writes it."""
    torch.save({"model": masked_image_state}, tmp_path / "beitv2_start.pth")
    told = open_source(tmp_path / "beitv2_start.pth")
    content = write_configuration(FolderSettings(told.settings, told.preprocessing))
    (tmp_path / "configuration.json").write_text(json.dumps(content))
    (tmp_path / "beitv2_start.pth").rename(tmp_path / "pytorch_model.pt")
    source = open_source(tmp_path, num_classes=37)
    assert source.layout == "unilm-pretraining" and source.settings.num_classes == 37
    assert {"head.fc.weight", "backbone.fc_norm.weight"} <= set(source.conversion.initialised)
    table = masked_image_state["rel_pos_bias.relative_position_bias_table"]
    assert torch.equal(source.tensors["backbone.blocks.1.attn.relative_position_bias_table"], table)


def test_open_source__mm_file_with_class_names(tmp_path: Path, tiny_classifier: BeitClassifier) -> None:
    path = tmp_path / "epoch_3.pth"
    content = {"state_dict": tiny_classifier.state_dict(), "meta": {"CLASSES": helpers.TINY_CLASSES, "epoch": 3}}
    torch.save(content, path)
    assert open_source(path).class_names == helpers.TINY_CLASSES
    content["meta"] = {"CLASSES": ["cat", "dog"]}
    torch.save(content, path)
    source = open_source(path)
    assert source.class_names is None
    assert "2 class names are left out, since the head has 5 classes" in source.description


@pytest.mark.parametrize(
    ("name", "configuration", "layout"),
    [
        ("BeitForImageClassification", {}, "transformers-beit"),
        ("BeitModel", {}, "transformers-beit-bare"),
        (
            "BeitForMaskedImageModeling",
            {"use_relative_position_bias": False, "use_shared_relative_position_bias": True},
            "transformers-beit-pretraining",
        ),
        ("ViTForImageClassification", {"layer_norm_eps": 1e-12}, "transformers-vit"),
        ("ViTModel", {}, "transformers-vit-bare"),
        ("DeiTForImageClassificationWithTeacher", {"layer_norm_eps": 1e-12}, "transformers-deit"),
        ("DeiTForImageClassification", {}, "transformers-deit-one-classifier"),
        ("DeiTModel", {}, "transformers-vit-bare"),
    ],
)
def test_open_source__transformers_folder(
    transformers_model: Any,
    tmp_path: Path,
    logits: Any,
    name: str,
    configuration: dict[str, Any],
    layout: str,
) -> None:
    model = transformers_model(name, **configuration)
    model.save_pretrained(tmp_path)
    source = open_source(tmp_path, num_classes=5)
    assert source.layout == layout
    assert source.settings.backbone.layer_norm_eps == model.config.layer_norm_eps
    ours = classifier_with(source.settings, source.tensors)
    if "ForImageClassification" in name:
        assert (logits(ours) - logits(model)).abs().max() < 1e-5
    else:
        assert "fresh: " in source.description
        assert logits(ours).shape == (2, 5)
    # DeiT's processor resizes to 256 for a crop of 224.
    side = 73 if name.startswith("DeiT") else 64
    assert step_of(Resize, source.preprocessing).size == (side, side)


def test_open_source__pooled_feature_of_a_transformers_model_without_classifier(
    transformers_model: Any, tmp_path: Path, pictures: Tensor
) -> None:
    model = transformers_model("BeitModel")
    model.save_pretrained(tmp_path)
    source = open_source(tmp_path)
    ours = classifier_with(source.settings, source.tensors).eval()
    with torch.no_grad():
        assert (ours.backbone(pictures) - model(pictures).pooler_output).abs().max() < 1e-5


def test_open_source__sharded_transformers_folder(transformers_model: Any, tmp_path: Path, logits: Any) -> None:
    model = transformers_model("BeitForImageClassification")
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    source = open_source(tmp_path)
    assert (logits(classifier_with(source.settings, source.tensors)) - logits(model)).abs().max() < 1e-5


def test_open_source__modelscope_folder(tiny_model_folder: Path, tiny_classifier: BeitClassifier) -> None:
    source = open_source(tiny_model_folder)
    assert source.layout == "modelscope"
    assert source.settings.backbone == tiny_classifier.settings.backbone
    assert source.class_names == helpers.TINY_CLASSES
    assert step_of(Resize, source.preprocessing).size == (36, -1)
    larger = open_source(tiny_model_folder, image_size=(64, 64))
    assert step_of(Resize, larger.preprocessing).size == (72, -1)
    assert step_of(CenterCrop, larger.preprocessing).crop_size == 64
    assert larger.tensors["backbone.blocks.0.attn.relative_position_bias_table"].shape == (15 * 15 + 3, 2)


def test_open_source__modelscope_folder_whose_weights_are_of_another_size(tiny_model_folder: Path) -> None:
    configuration = json.loads((tiny_model_folder / "configuration.json").read_text())
    configuration["model"]["mm_model"]["backbone"]["img_size"] = 48
    (tiny_model_folder / "configuration.json").write_text(json.dumps(configuration))
    source = open_source(tiny_model_folder)
    assert source.file_image_size == (32, 32) and source.settings.backbone.image_size == (48, 48)
    assert classifier_with(source.settings, source.tensors)(torch.zeros(1, 3, 48, 48)).shape == (1, 5)
    assert step_of(CenterCrop, source.preprocessing).crop_size == 32


def test_open_source__class_names_from_a_file_of_the_folder(tiny_model_folder: Path) -> None:
    weights = torch.load(tiny_model_folder / "pytorch_model.pt", weights_only=True)
    torch.save(weights["state_dict"], tiny_model_folder / "pytorch_model.pt")
    (tiny_model_folder / "classname.txt").write_text("a\nb\nc\nd\ne\n")
    assert open_source(tiny_model_folder).class_names == ("a", "b", "c", "d", "e")


def test_open_source__broken_configuration_is_a_settings_error(tiny_model_folder: Path) -> None:
    configuration = json.loads((tiny_model_folder / "configuration.json").read_text())
    configuration["model"]["mm_model"]["head"]["num_classes"] = "five"
    (tiny_model_folder / "configuration.json").write_text(json.dumps(configuration))
    with pytest.raises(SettingsError, match="num_classes"):
        open_source(tiny_model_folder)


def test_open_source__mirror_of_a_transformers_model_on_the_hub(transformers_model: Any, tmp_path: Path) -> None:
    """Such folders have both files; the configuration.json says only the task."""
    transformers_model("ViTForImageClassification").save_pretrained(tmp_path)
    (tmp_path / "configuration.json").write_text('{"framework": "pytorch", "task": "image-classification"}')
    assert open_source(tmp_path).layout == "transformers-vit"


def test_open_source__folder_of_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=r"configuration\.json[\s\S]*notes\.txt"):
        open_source(tmp_path)


def test_open_source__unknown_weights_name_the_file(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"resnet\.pth"):
        open_source(tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="no such file"):
        open_source(tmp_path / "nothing.pth")
