import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modelscope_beit.checkpoints.proof import prove
from modelscope_beit.checkpoints.source import open_source

needs_timm = pytest.mark.usefixtures("timm_model")


@needs_timm
def test_prove__unilm_file_through_timm(unilm_file: Path, unilm_state: dict[str, Tensor]) -> None:
    source = open_source(unilm_file)
    proof = prove(source)
    assert proof.library == "timm" and proof.largest_difference is not None and proof.largest_difference < 1e-5
    assert (proof.num_mapped, proof.num_dropped) == (len(unilm_state) - 2, 2)
    assert proof.digest == source.digest and not proof.initialised


@needs_timm
def test_prove__sees_a_single_wrong_weight(unilm_file: Path) -> None:
    """The comparison reads the file again, so a mistake in our tensors shows."""
    source = open_source(unilm_file)
    key = "backbone.blocks.1.attn.relative_position_bias_table"
    broken = source.conversion.tensors | {key: source.conversion.tensors[key].roll(1, dims=0)}
    proof = prove(replace(source, conversion=replace(source.conversion, tensors=broken)))
    assert proof.largest_difference is not None and proof.largest_difference > 1e-3


@needs_timm
def test_prove__resized_source_is_compared_at_its_own_size(unilm_file: Path) -> None:
    proof = prove(open_source(unilm_file, image_size=(96, 96)))
    assert proof.largest_difference is not None and proof.largest_difference < 1e-5


def test_prove__distilled_file_of_timm_at_its_own_size(timm_model: Any, tmp_path: Path) -> None:
    torch.save(timm_model("deit_base_distilled_patch16_224").state_dict(), tmp_path / "tiny.pth")
    proof = prove(open_source(tmp_path / "tiny.pth", image_size=(96, 96)))
    assert (proof.library, proof.num_dropped) == ("timm", 0)
    assert proof.largest_difference is not None and proof.largest_difference < 1e-5


@needs_timm
def test_prove__modelscope_folder_through_timm_after_renaming(tiny_model_folder: Path) -> None:
    proof = prove(open_source(tiny_model_folder))
    assert proof.library == "timm" and "renamed by us" in proof.reason
    assert proof.largest_difference is not None and proof.largest_difference < 1e-5


@pytest.mark.parametrize(
    "name", ["BeitForImageClassification", "ViTForImageClassification", "DeiTForImageClassificationWithTeacher"]
)
@pytest.mark.parametrize("eps", [1e-6, 1e-12])
def test_prove__transformers_folder_and_file(transformers_model: Any, tmp_path: Path, name: str, eps: float) -> None:
    transformers_model(name, layer_norm_eps=eps).save_pretrained(tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        proof = prove(open_source(path))
        assert proof.library == "transformers"
        assert proof.largest_difference is not None and proof.largest_difference < 1e-5


def test_prove__file_without_a_head_has_nothing_to_compare(
    tmp_path: Path, masked_image_state: dict[str, Tensor]
) -> None:
    torch.save(masked_image_state, tmp_path / "pretrained.pth")
    proof = prove(open_source(tmp_path / "pretrained.pth"))
    assert proof.library == "" and proof.largest_difference is None
    assert "no logits to compare" in proof.reason and "head.fc.weight" in proof.initialised


@pytest.mark.parametrize("name", ["BeitModel", "ViTModel", "DeiTModel"])
@pytest.mark.parametrize("configuration", [{}, {"use_mean_pooling": False}], ids=["mean", "class token"])
def test_prove__folder_without_a_head_has_features_to_compare(
    transformers_model: Any, tmp_path: Path, name: str, configuration: dict[str, Any]
) -> None:
    transformers_model(name, **(configuration if name == "BeitModel" else {})).save_pretrained(tmp_path)
    source = open_source(tmp_path, num_classes=3)
    proof = prove(source)
    assert (proof.library, proof.compared) == ("transformers", "features")
    assert proof.largest_difference is not None and proof.largest_difference <= 1e-5
    for key in source.conversion.tensors:
        if key.endswith("norm.bias"):  # The last one: of the pooled feature, or of all tokens.
            broken = source.conversion.tensors | {key: source.conversion.tensors[key] + 0.1}
    worse = prove(replace(source, conversion=replace(source.conversion, tensors=broken)))
    assert worse.largest_difference is not None and worse.largest_difference > 0.05


def test_prove__folder_without_a_head_and_a_pooler(transformers_model: Any, tmp_path: Path) -> None:
    transformers_model("BeitModel").save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({key: value for key, value in state.items() if "pooler" not in key}, tmp_path / "model.safetensors")
    source = open_source(tmp_path, num_classes=3)
    assert "backbone.fc_norm.weight" in source.conversion.initialised
    assert prove(source).largest_difference is None


def test_prove__missing_library_is_a_reason_not_an_error(unilm_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(unilm_file)
    monkeypatch.setitem(sys.modules, "timm", None)
    proof = prove(source)
    assert proof.library == "" and proof.largest_difference is None
    assert "pip install" in proof.reason and proof.num_mapped == len(source.conversion.mapped)
