"""Oracle: timm's own networks, and what timm itself reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modelscope_beit.checkpoints.timm_files import TimmFile, read_timm_file
from modelscope_beit.checkpoints.timm_networks import TimmSource, open_timm_source, prove_timm
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.timm_classifier import TimmClassifier
from modelscope_beit.settings.preprocessing import write_steps
from timm_networks import BIT, CLASSES, TINY_BIT, timm_network, write_timm_folder


def opened(path: Path, **options: Any) -> TimmSource:
    file = read_timm_file(path)
    assert file is not None
    return open_timm_source(file, **options)


def our_logits(source: TimmSource, images: Tensor) -> Tensor:
    ours = TimmClassifier(source.settings).eval()
    ours.load_state_dict(source.tensors)
    with torch.no_grad():
        return ours(images)


@pytest.mark.parametrize("name", [BIT, "test_resnet", "test_efficientnet"])
def test_open_timm_source__logits_are_those_of_timm(tmp_path: Path, name: str) -> None:
    theirs = timm_network(name)
    source = opened(write_timm_folder(theirs, tmp_path))
    assert (source.settings.model_name, source.settings.num_classes) == (name, 3)
    assert (source.class_names, source.initialised) == (tuple(CLASSES), ())
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(our_logits(source, images), theirs(images), atol=1e-5, rtol=1e-5)
    proof = prove_timm(source)
    assert (proof.library, proof.compared, proof.num_mapped) == ("timm", "logits", len(theirs.state_dict()))
    assert proof.largest_difference is not None and proof.largest_difference < 1e-5


def test_open_timm_source__bigtransfer_begins_new_heads_with_zeros(tmp_path: Path) -> None:
    assert opened(write_timm_folder(timm_network(), tmp_path / "bit")).settings.head_init_std == 0
    assert opened(write_timm_folder(timm_network("test_resnet"), tmp_path / "other")).settings.head_init_std == 0.01


def test_open_timm_source__half_precision_is_widened_and_counts_stay(tmp_path: Path) -> None:
    source = opened(write_timm_folder(timm_network("test_resnet").half(), tmp_path))
    kinds = {key.rpartition(".")[2]: tensor.dtype for key, tensor in source.tensors.items()}
    assert kinds["num_batches_tracked"] == torch.int64
    assert set(kinds.values()) == {torch.float32, torch.int64}


def test_open_timm_source__steps_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(f"{BIT}.goog_in21k_ft_in1k").to_dict() | {"crop_mode": "squash"}
    folder = write_timm_folder(timm_network(), tmp_path, pretrained_cfg=config | {"custom_load": False})
    source = opened(folder)
    assert source.image_size == (448, 448)
    _, resize, normalize, *_ = write_steps(source.preprocessing)
    # Bilinear is what mm takes where nothing is said.
    assert resize == {"type": "Resize", "size": [448, 448], "backend": "pillow"}
    assert normalize["mean"] == normalize["std"] == [127.5] * 3
    assert write_steps(opened(folder, image_size=(96, 96)).preprocessing)[1]["size"] == [96, 96]


def test_open_timm_source__without_a_head_the_features_are_proved(tmp_path: Path) -> None:
    source = opened(write_timm_folder(timm_network("test_resnet", num_classes=0), tmp_path), num_classes=7)
    assert source.initialised == ("head.fc.weight", "head.fc.bias")
    assert source.tensors["head.fc.weight"].shape == (7, 96)
    proof = prove_timm(source)
    assert (proof.compared, proof.initialised) == ("features", source.initialised)
    assert proof.largest_difference is not None and proof.largest_difference < 1e-5


def test_prove_timm__tells_a_wrong_weight(tmp_path: Path) -> None:
    source = opened(write_timm_folder(timm_network("test_resnet"), tmp_path))
    # Of its own: timm's network has the others.
    source.tensors["head.fc.weight"] = source.tensors["head.fc.weight"] * 1.01
    difference = prove_timm(source).largest_difference
    assert difference is not None and difference > 1e-3


@pytest.mark.parametrize(
    ("name", "part"), [("test_convnext", "head.norm"), ("mobilenetv3_small_050", "conv_head")], ids=["norm", "layer"]
)
def test_prove_timm__refuses_what_has_more_between_mean_and_classifier(tmp_path: Path, name: str, part: str) -> None:
    source = opened(write_timm_folder(timm_network(name), tmp_path))
    with pytest.raises(CheckpointError, match=f"{name} computes more between the two, such as {part}"):
        prove_timm(source)


def test_open_timm_source__tokens_and_several_heads(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model.safetensors: .*test_mambaout gives features of shape"):
        opened(write_timm_folder(timm_network("test_mambaout"), tmp_path / "last"))
    weights = tmp_path / "levit.pth"
    torch.save({}, weights)
    with pytest.raises(CheckpointError, match="levit_128s has several classifiers: head.linear, head_dist.linear"):
        open_timm_source(TimmFile(weights, "levit_128s"))


def test_open_timm_source__weights_that_do_not_fit(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.pth"
    theirs = timm_network()
    torch.save(theirs.state_dict(), weights)
    with pytest.raises(CheckpointError, match=r"tiny.pth.*(?s:.*)stem.conv.weight is \(32, .*expected \(64, "):
        open_timm_source(TimmFile(weights, BIT))
    with pytest.raises(CheckpointError, match=r"^\S*tiny.pth: timm .* does not know the network 'resnetv2_50x1_bot'"):
        open_timm_source(TimmFile(weights, "resnetv2_50x1_bot"))
    state = theirs.state_dict()
    del state["stages.0.blocks.0.norm1.weight"]
    torch.save(state, weights)
    with pytest.raises(CheckpointError, match="missing: stages.0.blocks.0.norm1.weight"):
        open_timm_source(TimmFile(weights, BIT, dict(TINY_BIT)))


def test_open_timm_source__size_of_a_network_that_takes_one_only(tmp_path: Path) -> None:
    folder = write_timm_folder(timm_network("test_coatnet"), tmp_path)
    with pytest.raises(CheckpointError, match="test_coatnet takes pictures of 160x160 pixels only, not of 96x96"):
        opened(folder, image_size=(96, 96))


def test_open_timm_source__other_number_of_class_names_is_told(tmp_path: Path) -> None:
    source = opened(write_timm_folder(timm_network("test_resnet"), tmp_path, label_names=["one", "two"]))
    assert source.class_names is None
    assert "its 2 class names are left out" in source.description


def test_open_timm_source__arrays_of_bigtransfer(tmp_path: Path) -> None:
    """The one test with a whole network: its arrays have no smaller form that timm reads."""
    theirs = timm_network(channels=[256, 512, 1024, 2048], stem_chs=64, bottle_ratio=0.25)
    np.savez(tmp_path / "BiT-S-R50x1.npz", **arrays_of(theirs))
    source = opened(tmp_path / "BiT-S-R50x1.npz", image_size=(64, 64))
    assert source.description.startswith("BiT-S-R50x1.npz: timm resnetv2_50x1_bit.goog_in21k_ft_in1k; 3 classes")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(our_logits(source, images), theirs(images), atol=1e-4, rtol=1e-4)


def arrays_of(network: Any) -> dict[str, np.ndarray]:
    """Returns the weights as https://github.com/google-research/big_transfer publishes them: (h, w, in, out)."""

    def kernel(layer: Any) -> np.ndarray:
        return layer.weight.detach().numpy().transpose(2, 3, 1, 0)

    arrays = {
        "root_block/standardized_conv2d/kernel": kernel(network.stem.conv),
        "group_norm/gamma": network.norm.weight.detach().numpy(),
        "group_norm/beta": network.norm.bias.detach().numpy(),
        "head/conv2d/kernel": kernel(network.head.fc),
        "head/conv2d/bias": network.head.fc.bias.detach().numpy(),
    }
    for stage_number, stage in enumerate(network.stages, start=1):
        for number, block in enumerate(stage.blocks, start=1):
            unit = f"block{stage_number}/unit{number:02d}"
            for letter, index in (("a", 1), ("b", 2), ("c", 3)):
                norm = getattr(block, f"norm{index}")
                arrays[f"{unit}/{letter}/standardized_conv2d/kernel"] = kernel(getattr(block, f"conv{index}"))
                arrays[f"{unit}/{letter}/group_norm/gamma"] = norm.weight.detach().numpy()
                arrays[f"{unit}/{letter}/group_norm/beta"] = norm.bias.detach().numpy()
            if block.downsample is not None:
                arrays[f"{unit}/a/proj/standardized_conv2d/kernel"] = kernel(block.downsample.conv)
    return {f"resnet/{name}": array for name, array in arrays.items()}
