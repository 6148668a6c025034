"""Folders of transformers' BeitForSemanticSegmentation, as transformers itself writes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from modelscope_beit.checkpoints.files import read_weights, write_weights
from modelscope_beit.checkpoints.segmentation import (
    from_transformers,
    is_transformers_segmentation,
    open_segmentation_source,
    read_segmentation_config,
    segmentation_network_with,
)
from modelscope_beit.errors import CheckpointError, SettingsError
from segmentation_models import LABELS, logits_of, transformers_segmentation, write_transformers_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_transformers_folder(tmp_path / "theirs", transformers_segmentation(use_mask_token=True))


def test_open_segmentation_source__gives_transformers_logits(folder: Path) -> None:
    source = open_segmentation_source(folder)
    network = segmentation_network_with(source.settings, source.tensors, "here")
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(images)
    expected = logits_of(transformers_segmentation(use_mask_token=True), images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert not network.training and network.neck.up4_norm.num_batches_tracked == 7
    assert source.class_names == LABELS and source.title == "transformers BeitForSemanticSegmentation"


def test_open_segmentation_source__tells_what_became_of_every_key(folder: Path) -> None:
    source = open_segmentation_source(folder)
    keys = set(read_weights(folder / "model.safetensors").tensors)
    assert set(source.mapped) | set(source.dropped) == keys and not set(source.mapped) & set(source.dropped)
    assert {key.split(".")[0] for key in source.dropped} == {"auxiliary_head", "beit"}
    assert [key for key in source.dropped if key.startswith("beit.")] == ["beit.embeddings.mask_token"]


def test_open_segmentation_source__reads_a_bin_and_half_precision(folder: Path) -> None:
    expected = open_segmentation_source(folder)
    tensors = read_weights(folder / "model.safetensors").tensors
    (folder / "model.safetensors").unlink()
    halves = {key: value.bfloat16() if value.is_floating_point() else value for key, value in tensors.items()}
    torch.save(halves, folder / "pytorch_model.bin")
    found = open_segmentation_source(folder)
    assert found.weights.name == "pytorch_model.bin" and found.mapped == expected.mapped
    for key, tensor in expected.tensors.items():
        assert found.tensors[key].dtype == tensor.dtype
        torch.testing.assert_close(found.tensors[key], tensor, atol=0.01, rtol=0.01)


def test_from_transformers__names_of_memory_give_the_same(folder: Path) -> None:
    model = transformers_segmentation(use_mask_token=True, use_mean_pooling=False, auxiliary_concat_input=True)
    settings = read_segmentation_config(model.config.to_dict(), "config")
    in_memory, _, dropped = from_transformers(model.state_dict(), settings, "memory")
    write_transformers_folder(folder, model)
    in_file = open_segmentation_source(folder)
    assert in_memory.keys() == in_file.tensors.keys()
    assert all(torch.equal(in_memory[key], tensor) for key, tensor in in_file.tensors.items())
    assert len(dropped) == len(in_file.dropped)


def test_open_segmentation_source__lists_missing_unexpected_and_wrongly_shaped_keys(folder: Path) -> None:
    tensors = dict(read_weights(folder / "model.safetensors").tensors)
    del tensors["fpn1.3.bias"]
    tensors |= {"decode_head.extra": torch.zeros(1), "auxiliary_head.other": torch.zeros(1)}
    tensors["decode_head.classifier.weight"] = torch.zeros(6, 32, 1, 1)
    write_weights(folder / "model.safetensors", tensors)
    with pytest.raises(CheckpointError) as told:
        open_segmentation_source(folder)
    lines = str(told.value).splitlines()
    assert str(folder) in lines[0]
    assert lines[1:] == [
        "- missing: fpn1.3.bias",
        "- unexpected: auxiliary_head.other, decode_head.extra",
        "- of another shape: decode_head.classifier.weight is (6, 32, 1, 1), expected (5, 32, 1, 1)",
    ]


def test_segmentation_network_with__is_strict_too(folder: Path) -> None:
    source = open_segmentation_source(folder)
    tensors = source.tensors | {"head.more": torch.zeros(1), "neck.up2.bias": torch.zeros(3)}
    del tensors["head.classifier.bias"]
    with pytest.raises(CheckpointError) as told:
        segmentation_network_with(source.settings, tensors, "seg/model.safetensors")
    for part in ("missing: head.classifier.bias", "unexpected: head.more", "neck.up2.bias is (3,), expected (32,)"):
        assert part in str(told.value)


CONFIG: dict[str, Any] = {"out_indices": [3, 5, 7, 11], "use_relative_position_bias": True, "image_size": 640}


def test_read_segmentation_config__counts_blocks_as_transformers_does() -> None:
    # Their hidden state 0 is what enters the first block, and index i means hidden state i - 1.
    assert read_segmentation_config(CONFIG, "here").feature_blocks == (1, 3, 5, 9)
    assert read_segmentation_config(CONFIG | {"out_indices": [0, 1, 2, 12]}, "here").feature_blocks == (11, -1, 0, 10)


def test_read_segmentation_config__reads_old_files_and_defaults() -> None:
    old = {"segmentation_indices": [3, 5, 7, 11], "patch_size": [16, 16], "image_size": [640, 640]}
    settings = read_segmentation_config(old, "here")
    assert settings.feature_blocks == (1, 3, 5, 9) and settings.num_classes == 2 and settings.channels == 768
    backbone = settings.backbone
    assert (backbone.image_size, backbone.patch_size, backbone.layer_norm_eps) == ((640, 640), 16, 1e-12)
    assert backbone.relative_position == "none" and backbone.layer_scale_init == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out_indices": None}, "out_indices is None: a list of whole numbers"),
        ({"out_indices": [1, 2, 3]}, "4 numbers"),
        ({"out_indices": [1, 2, 3, 13]}, "numbers from 0 to num_hidden_layers, 12"),
        ({"image_size": [640, 320]}, "only square pictures"),
        ({"patch_size": [16, 8]}, "only square patches"),
        ({"use_shared_relative_position_bias": True}, "shared or per layer"),
        ({"hidden_act": "relu"}, "only 'gelu'"),
        ({"hidden_size": "base", "hidden_act": "relu"}, "only 'gelu'.*\n.*hidden_size|hidden_size.*\n.*only 'gelu'"),
    ],
    ids=str,
)
def test_read_segmentation_config__refuses_what_cannot_be_expressed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_segmentation_config(CONFIG | change, "here")


def test_is_transformers_segmentation__tells_by_the_architecture(folder: Path, tmp_path: Path) -> None:
    assert is_transformers_segmentation(folder)
    assert not is_transformers_segmentation(tmp_path)
    (folder / "config.json").write_text(json.dumps({"architectures": ["BeitForImageClassification"]}))
    assert not is_transformers_segmentation(folder)
