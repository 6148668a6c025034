"""What timm's files say, as timm itself, its train.py and BigTransfer's authors write them."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelscope_beit.checkpoints.timm_files import read_timm_file
from modelscope_beit.errors import CheckpointError
from timm_networks import BIT, CLASSES, TINY_BIT, timm_network, write_timm_folder


def write_arrays(path: Path, *, units: int, width: int, num_classes: int) -> Path:
    """Writes an .npz with the names of BigTransfer's, without most of its weights."""
    arrays = {
        "resnet/root_block/standardized_conv2d/kernel": np.zeros((7, 7, 3, width), np.float32),
        "resnet/head/conv2d/kernel": np.zeros((1, 1, 8, num_classes), np.float32),
    }
    for number in range(1, units + 1):
        for part in "abc":
            arrays[f"resnet/block3/unit{number:02d}/{part}/standardized_conv2d/kernel"] = np.zeros(1, np.float32)
    np.savez(path, **arrays)
    return path


def test_read_timm_file__folder_that_timm_wrote(tmp_path: Path) -> None:
    found = read_timm_file(write_timm_folder(timm_network(), tmp_path))
    assert found is not None
    assert (found.architecture, found.weights.name) == (BIT, "model.safetensors")
    assert found.arguments == TINY_BIT | {"in_chans": 3}
    assert found.class_names == tuple(CLASSES)
    assert found.preprocessing["mean"] == [0.5, 0.5, 0.5]


def test_read_timm_file__old_folder_has_all_on_one_level(tmp_path: Path) -> None:
    content = {"architecture": "resnet50", "mean": [0.1, 0.2, 0.3], "num_classes": 3, "labels": CLASSES}
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    found = read_timm_file(tmp_path)
    assert found is not None
    assert (found.architecture, found.arguments, found.class_names) == ("resnet50", {}, tuple(CLASSES))
    assert found.preprocessing["mean"] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "content",
    [
        {"architecture": "vit_base_patch16_224"},
        {"architecture": "beitv2_base_patch16_224"},
        {"architecture": "deit_base_distilled_patch16_224"},
        {"architectures": ["BeitForImageClassification"], "model_type": "beit"},
        {"architecture": "resnet50", "model_type": "timm_wrapper"},
    ],
)
def test_read_timm_file__leaves_what_is_native_or_of_others(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert read_timm_file(tmp_path) is None


def test_read_timm_file__checkpoint_of_timms_program(tmp_path: Path) -> None:
    args = argparse.Namespace(
        model="resnet50", gp="avg", in_chans=None, model_kwargs={"stem_width": 8}, img_size=96, mean=[0.5] * 3, std=None
    )
    path = tmp_path / "model_best.pth.tar"
    torch.save({"arch": "resnet50", "args": args, "state_dict": {"fc.weight": torch.zeros(2, 3)}, "metric": 9.0}, path)
    found = read_timm_file(path)
    assert found is not None
    assert (found.architecture, found.arguments) == ("resnet50", {"stem_width": 8})
    assert found.preprocessing == {"mean": [0.5] * 3, "input_size": [3, 96, 96]}


def test_read_timm_file__bare_file_is_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(2, 3)}, path)
    assert read_timm_file(path) is None
    named = read_timm_file(path, "resnet50.a1_in1k")
    assert named is not None and named.architecture == "resnet50.a1_in1k"


@pytest.mark.parametrize(
    ("units", "width", "num_classes", "architecture"),
    [
        (6, 64, 1000, "resnetv2_50x1_bit.goog_in21k_ft_in1k"),
        (6, 192, 21843, "resnetv2_50x3_bit.goog_in21k"),
        (23, 64, 37, "resnetv2_101x1_bit.goog_in21k_ft_in1k"),
        (36, 256, 1000, "resnetv2_152x4_bit.goog_in21k_ft_in1k"),
    ],
)
def test_read_timm_file__arrays_tell_which_bigtransfer_they_are(
    tmp_path: Path, units: int, width: int, num_classes: int, architecture: str
) -> None:
    timm = pytest.importorskip("timm", reason="it knows which of these networks exist")
    path = write_arrays(tmp_path / "BiT.npz", units=units, width=width, num_classes=num_classes)
    found = read_timm_file(path)
    assert found is not None and found.is_npz
    assert (found.architecture, found.num_classes) == (architecture, num_classes)
    assert timm.get_pretrained_cfg(architecture) is not None
    # https://github.com/google-research/big_transfer, bit_pytorch/train.py: both sides are resized in validation.
    assert found.preprocessing["crop_mode"] == "squash"


def test_read_timm_file__other_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", embeddings=np.zeros(3))
    with pytest.raises(CheckpointError, match="Expected a network of BigTransfer .* but it holds embeddings"):
        read_timm_file(tmp_path / "other.npz")
    with pytest.raises(CheckpointError, match="third block has 5 units, but BigTransfer's have one of 6, 23, 36"):
        read_timm_file(write_arrays(tmp_path / "five.npz", units=5, width=64, num_classes=3))
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match=r"Expected arrays of NumPy in .*damaged.npz"):
        read_timm_file(tmp_path / "damaged.npz")
    with pytest.raises(CheckpointError, match=r"missing.npz.*No such file"):
        read_timm_file(tmp_path / "missing.npz")


def test_read_timm_file__other_pooling_and_a_name_beside_a_folder(tmp_path: Path) -> None:
    folder = write_timm_folder(timm_network("test_resnet", global_pool="max"), tmp_path / "max")
    with pytest.raises(CheckpointError, match=r"max.*the pooling is 'max', but only 'avg', the mean"):
        read_timm_file(folder)
    with pytest.raises(CheckpointError, match="is a folder, which says itself what it holds; 'resnet50' is not"):
        read_timm_file(folder, "resnet50")
