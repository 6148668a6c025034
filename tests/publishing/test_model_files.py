"""Configuration, weights and names as a hub holds them; opened again by ModelScope's layout and by transformers."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

import helpers
from modelscope_beit.errors import CheckpointError
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.publishing.model_files import write_modelscope_files, write_transformers_files


def change(folder: Path, **changes) -> None:
    content = json.loads((folder / "configuration.json").read_text())
    (folder / "configuration.json").write_text(json.dumps(content | changes))


def configuration(folder: Path) -> dict:
    return json.loads((folder / "configuration.json").read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_write_modelscope_files__is_the_hubs_layout(
    tiny_model_folder: Path, tiny_classifier: BeitClassifier, tmp_path: Path
) -> None:
    found = write_modelscope_files(tiny_model_folder, tmp_path / "out", self_contained=False)
    assert found.class_names == helpers.TINY_CLASSES
    assert found.num_parameters == sum(weight.numel() for weight in tiny_classifier.parameters())
    assert found.source_digest == sha256(tiny_model_folder / "pytorch_model.pt")
    content = torch.load(tmp_path / "out" / "pytorch_model.pt", weights_only=True)
    assert content["meta"] == {"CLASSES": list(helpers.TINY_CLASSES)}
    expected = tiny_classifier.state_dict()
    assert content["state_dict"].keys() == expected.keys()
    assert all(torch.equal(content["state_dict"][key], tensor) for key, tensor in expected.items())
    names = (tmp_path / "out" / "classname.txt").read_text(encoding="utf-8").splitlines()
    assert names == list(helpers.TINY_CLASSES)
    assert "allow_remote" not in configuration(tmp_path / "out")


def test_write_modelscope_files__of_safetensors_and_twice_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_modelscope_files(find_model_folder("embedded"), tmp_path / name, self_contained=False)
    weights = [tmp_path / name / "pytorch_model.pt" for name in ("one", "two")]
    assert sha256(weights[0]) == sha256(weights[1])
    assert open_model(tmp_path / "one").class_names == open_model("embedded").class_names


def test_write_modelscope_files__leaves_out_places_and_requests_for_code(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    train = {"work_dir": "/tmp/x/run", "load_from": "/tmp/x/start.pth", "note": "see /tmp/x", "seed": 3}
    change(tiny_model_folder, train=train, work_dir="/tmp/x", plugins=["pai-easycv"], allow_remote=True)
    write_modelscope_files(tiny_model_folder, tmp_path / "out", self_contained=False)
    content = configuration(tmp_path / "out")
    assert not {"work_dir", "plugins", "allow_remote"} & content.keys() and "work_dir" not in content["train"]
    # A path is shortened; a text that holds one is nobody's to change, and the checks will name it.
    assert content["train"]["load_from"] == "start.pth" and content["train"]["note"] == "see /tmp/x"
    assert content["train"]["seed"] == 3


def test_write_modelscope_files__self_contained(tiny_model_folder: Path, tmp_path: Path) -> None:
    write_modelscope_files(tiny_model_folder, tmp_path / "out", self_contained=True)
    assert configuration(tmp_path / "out")["allow_remote"] is True
    assert (tmp_path / "out" / "ms_wrapper.py").is_file()


def test_write_modelscope_files__keeps_a_calibration_for_its_weights(tiny_model_folder: Path, tmp_path: Path) -> None:
    fitted = {"temperature": 2.0, "unknown_below": 0.3, "false_alarm_rate": 0.05, "pictures": 9, "data": "pets"}
    # Other metadata, so that the published file is another one.
    weights = torch.load(tiny_model_folder / "pytorch_model.pt", weights_only=True)
    torch.save(weights | {"epoch": 3}, tiny_model_folder / "pytorch_model.pt")
    change(tiny_model_folder, confidence=fitted | {"weights": sha256(tiny_model_folder / "pytorch_model.pt")})
    write_modelscope_files(tiny_model_folder, tmp_path / "out", self_contained=False)
    told = configuration(tmp_path / "out")["confidence"]
    assert told["temperature"] == 2.0 and told["weights"] == sha256(tmp_path / "out" / "pytorch_model.pt")
    confidence = open_model(tmp_path / "out").confidence
    assert confidence is not None and confidence.temperature == 2.0


def test_write_transformers_files__opens_in_transformers(tiny_model_folder: Path, tmp_path: Path) -> None:
    found = write_transformers_files(tiny_model_folder, tmp_path / "out")
    assert found.weights == "model.safetensors" and load_file(tmp_path / "out" / found.weights)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        difference = (theirs(images).logits - open_model(tiny_model_folder).network(images)).abs().max()
    assert difference < 1e-5
    assert list(theirs.config.id2label.values()) == list(helpers.TINY_CLASSES)
    assert (tmp_path / "out" / "classname.txt").is_file()


def change_resize(folder: Path, **changes) -> None:
    content = configuration(folder)
    (resize,) = (step for step in content["preprocessor"]["val"] if step["type"] == "Resize")
    resize.update(changes)
    (folder / "configuration.json").write_text(json.dumps(content))


def test_write_transformers_files__tells_what_transformers_does_otherwise(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    change_resize(tiny_model_folder, backend="cv2")
    difference = " ".join(write_transformers_files(tiny_model_folder, tmp_path / "out").differences)
    assert "resized by OpenCV here" in difference


def test_write_transformers_files__refuses_what_transformers_cannot_express(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    change_resize(tiny_model_folder, backend="cv2", interpolation="area")
    with pytest.raises(CheckpointError, match="transformers cannot resize with the filter area"):
        write_transformers_files(tiny_model_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
