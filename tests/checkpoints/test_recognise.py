from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from torch import Tensor

from modelscope_beit.checkpoints.recognise import recognise, with_block_number, without_block_number
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.classifier import BeitClassifier


def test_recognise__our_own(tiny_classifier: BeitClassifier) -> None:
    assert recognise(tiny_classifier.state_dict()).name == "modelscope"


@pytest.mark.parametrize(
    ("architecture", "layout"),
    [
        ("beitv2_base_patch16_224", "unilm"),
        ("beit_base_patch16_224", "unilm"),
        ("vit_base_patch16_224", "timm-vit"),
        ("deit_base_patch16_224", "timm-vit"),
        ("deit_base_distilled_patch16_224", "timm-vit"),
    ],
)
def test_recognise__timm(timm_model: Any, architecture: str, layout: str) -> None:
    assert recognise(timm_model(architecture).state_dict()).name == layout


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("BeitForImageClassification", "transformers-beit"),
        ("BeitModel", "transformers-beit-bare"),
        ("BeitForMaskedImageModeling", "transformers-beit-pretraining"),
        ("ViTForImageClassification", "transformers-vit"),
        ("ViTModel", "transformers-vit-bare"),
        ("DeiTForImageClassificationWithTeacher", "transformers-deit"),
        ("DeiTForImageClassification", "transformers-deit-one-classifier"),
        ("DeiTModel", "transformers-vit-bare"),
    ],
)
def test_recognise__transformers_on_disk_and_in_memory(
    transformers_model: Any, tmp_path: Path, name: str, layout: str
) -> None:
    model = transformers_model(name)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert recognise(file.keys()).name == layout
    # 5.x has other names in memory; 4.x has the same.
    assert recognise(model.state_dict()).name in (layout, f"{layout}-memory")


@pytest.mark.openmmlab
def test_recognise__mmcls() -> None:
    models = pytest.importorskip("mmcls.models", reason="the oracle is mmcls")
    arch = {"embed_dims": 64, "num_layers": 2, "num_heads": 2, "feedforward_channels": 128}
    backbone = {"type": "VisionTransformer", "arch": arch, "img_size": 32, "patch_size": 16}
    head = {"type": "VisionTransformerClsHead", "num_classes": 5, "in_channels": 64}
    model = models.build_classifier({"type": "ImageClassifier", "backbone": backbone, "head": head})
    assert recognise(model.state_dict()).name == "mmcls-vit"


def test_recognise__mmpretrain_beit_by_the_names_in_its_sources() -> None:
    block = "ln1.weight attn.q_bias attn.v_bias attn.qkv.weight attn.proj.weight gamma_1 ffn.layers.0.0.weight"
    keys = [f"backbone.layers.0.{name}" for name in (*block.split(), "attn.relative_position_index")]
    keys += ["backbone.cls_token", "backbone.patch_embed.projection.weight", "backbone.ln2.weight", "head.fc.weight"]
    assert recognise(keys).name == "mmpretrain-beit"


def test_recognise__masked_image_model(masked_image_state: dict[str, Tensor]) -> None:
    assert recognise(masked_image_state).name == "unilm-pretraining"


def test_recognise__unknown_names_three_nearest_and_what_does_not_fit(timm_model: Any) -> None:
    keys = [*timm_model("vit_base_patch16_224").state_dict(), "reg_token", "head_third.weight"]
    with pytest.raises(CheckpointError) as error:
        recognise(keys)
    message = str(error.value)
    assert message.count("\n- ") == 3
    assert "timm ViT or DeiT (timm-vit): reg_token, head_third.weight" in message.splitlines()[1]


@pytest.mark.parametrize("keys", [[], ["conv1.weight", "fc.weight"], ["cls_token"]])
def test_recognise__something_else_is_refused(keys: list[str]) -> None:
    with pytest.raises(CheckpointError, match="fit no known format|fit no known layout"):
        recognise(keys)


@pytest.mark.parametrize(
    ("key", "pattern", "number"),
    [
        ("blocks.11.mlp.fc1.weight", "blocks.{}.mlp.fc1.weight", "11"),
        ("backbone.layers.3.ffn.layers.0.0.bias", "backbone.layers.{}.ffn.layers.0.0.bias", "3"),
        ("norm.weight", "norm.weight", None),
    ],
)
def test_without_block_number__takes_the_first_number_only(key: str, pattern: str, number: str | None) -> None:
    assert without_block_number(key) == (pattern, number)
    assert with_block_number(pattern, number) == key
