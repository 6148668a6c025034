"""Conversion of timm's convolutional networks as a whole; what opens the results are timm and our own opening."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from modelscope_beit.errors import CheckpointError, ModelFolderError, SettingsError
from modelscope_beit.model_folder.conversion import ConversionRequest
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.model_folder.timm_conversion import TimmConverted, convert_timm, timm_source
from timm_networks import CLASSES, timm_network, write_timm_folder

timm = pytest.importorskip("timm", reason="it makes the folders and opens what is written for it")


def converted(source: Path, target: Path, **options: Any) -> TimmConverted:
    request = ConversionRequest(**options)
    found = timm_source(source, request.architecture)
    assert found is not None
    return convert_timm(source, found, target, request)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of timm."""
    return write_timm_folder(timm_network(), tmp_path_factory.mktemp("timm") / "bit")


@pytest.fixture(scope="module")
def ours(theirs: Path) -> Path:
    """The model folder made of it."""
    return converted(theirs, theirs.parent / "ours").folder


def test_convert_timm__model_folder_classifies_as_timm(theirs: Path, ours: Path) -> None:
    network = timm.create_model(f"local-dir:{theirs}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    opened = open_model(ours)
    assert opened.class_names == tuple(CLASSES)
    for picture in helpers.photographs():
        with torch.no_grad():
            our_pixels, their_pixels = opened.transform(picture)[None], transform(picture)[None]
            torch.testing.assert_close(our_pixels, their_pixels, atol=1e-6, rtol=0)
            torch.testing.assert_close(opened.network(their_pixels), network(their_pixels), atol=1e-5, rtol=0)


def test_convert_timm__what_is_written(theirs: Path, ours: Path) -> None:
    assert sorted(path.name for path in ours.iterdir()) == [
        "README.md",
        "classname.txt",
        "configuration.json",
        "pytorch_model.pt",
    ]
    assert "resnetv2_50x1_bit of timm" in (ours / "README.md").read_text()
    head = json.loads((ours / "configuration.json").read_text())["model"]["mm_model"]["head"]
    assert head["init_cfg"] == {"type": "Normal", "layer": "Linear", "std": 0.0}


def test_convert_timm__in_words(theirs: Path, tmp_path: Path) -> None:
    done = converted(theirs, tmp_path / "ours")
    words = done.in_words()
    assert words["source"].startswith("model.safetensors: timm resnetv2_50x1_bit; 3 classes, 64x64 pixels, 0.2 M")
    assert words["keys"] == f"{len(timm_network().state_dict())} mapped, 0 fresh"
    assert words["classes"] == "3, names from the source"
    assert words["digest"] != words["written"]
    assert done.proof.largest_difference is not None and done.proof.largest_difference < 1e-5


def test_convert_timm__there_and_back(theirs: Path, ours: Path, tmp_path: Path) -> None:
    done = converted(ours, tmp_path / "back", to="timm")
    assert done.proof.library == "timm" and done.proof.largest_difference is not None
    assert done.proof.largest_difference < 1e-5
    before, after = (
        timm.create_model(f"local-dir:{folder}", pretrained=True).state_dict() for folder in (theirs, done.folder)
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


def test_convert_timm__bare_file_needs_its_name_and_class_names(tmp_path: Path) -> None:
    network = timm_network("test_resnet")
    weights, labels = tmp_path / "weights.pth", tmp_path / "labels.txt"
    torch.save(network.state_dict(), weights)
    labels.write_text("\n".join(CLASSES))
    assert timm_source(weights) is None
    with pytest.raises(ModelFolderError, match="weights.pth does not say what its 3 classes are called; give"):
        converted(weights, tmp_path / "ours", architecture="test_resnet")
    done = converted(weights, tmp_path / "ours", architecture="test_resnet", labels=labels, image_size=(48, 48))
    assert open_model(done.folder).class_names == tuple(CLASSES)
    assert open_model(done.folder).transform(helpers.photographs()[0]).shape == (3, 48, 48)


def test_convert_timm__fresh_heads(tmp_path: Path) -> None:
    headless = write_timm_folder(timm_network("test_resnet", num_classes=0), tmp_path / "headless")
    with pytest.raises(ModelFolderError, match="has no classifier. For a fresh one"):
        converted(headless, tmp_path / "ours")
    done = converted(headless, tmp_path / "ours", num_classes=2)
    assert open_model(done.folder).class_names == ("class 0", "class 1")
    assert done.in_words()["keys"].endswith("mapped, 2 fresh")
    assert done.proof.compared == "features"


def test_convert_timm__what_cannot_be_expressed_is_not_written(tmp_path: Path) -> None:
    source = write_timm_folder(timm_network("test_convnext"), tmp_path / "convnext")
    with pytest.raises(CheckpointError, match=r"test_convnext computes more .*head.norm. Nothing was written"):
        converted(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("which", "options", "message"),
    [
        ("theirs", {"to": "transformers"}, "is written with --to modelscope or timm; --to transformers cannot"),
        ("theirs", {"to": "unilm", "family": "vit"}, "--to unilm, --family cannot be used with it"),
        ("ours", {}, r"is a model folder whose network timm builds; .* --to timm; --to modelscope cannot"),
        ("ours", {"to": "timm", "image_size": (64, 64), "num_classes": 3}, "--size, --num-classes cannot be used"),
    ],
)
def test_convert_timm__what_cannot_be_asked_for(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        converted(request.getfixturevalue(which), tmp_path / "target", **options)
    assert not (tmp_path / "target").exists()


def test_convert_timm__replaces_a_model_only_on_request(theirs: Path, ours: Path, tmp_path: Path) -> None:
    target = shutil.copytree(ours, tmp_path / "target")
    with pytest.raises(ModelFolderError, match="exists and is not empty"):
        converted(theirs, target)
    assert converted(theirs, target, overwrite=True).folder == target


def test_timm_source__leaves_what_is_native(tmp_path: Path) -> None:
    (tmp_path / "configuration.json").write_text(json.dumps(helpers.TINY_CONFIGURATION))
    assert timm_source(tmp_path) is None
