"""What is said about folders of other libraries; transformers itself writes one."""

import copy
import json

import pytest
import torch
from torch import nn

import helpers
from modelscope_beit.errors import CheckpointError
from modelscope_beit.model_folder.description import describe
from timm_networks import timm_network, write_timm_folder


def test_describe__transformers_folder(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers writes the folder")
    config = transformers.BeitConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    config.id2label = {0: "cat", 1: "dog", 2: "owl", 3: "emu", 4: "gnu", 5: "yak"}
    config.use_relative_position_bias, config.use_mean_pooling = True, True
    model = transformers.BeitForImageClassification(config)
    model.save_pretrained(tmp_path)
    described = describe(tmp_path)
    assert described.class_names == ("cat", "dog", "owl", "emu", "gnu", "yak")
    assert described.settings.backbone.layer_norm_eps == config.layer_norm_eps
    # Without the mask token, which a classifier has no use for.
    expected = sum(weight.numel() for name, weight in model.named_parameters() if "mask_token" not in name)
    assert described.num_parameters == expected
    assert described.in_words()["classes"].splitlines() == ["6", "cat", "dog", "owl", "emu", "gnu", "..."]
    assert described.in_words()["files"].count("bytes") == len(list(tmp_path.iterdir()))


def test_describe__class_names_that_do_not_fit_are_told(tiny_model_folder, tiny_classifier):
    weights = {"state_dict": tiny_classifier.state_dict(), "meta": {"CLASSES": ["one"]}}
    torch.save(weights, tiny_model_folder / "pytorch_model.pt")
    described = describe(tiny_model_folder)
    assert described.class_names is None
    assert "1 class names are left out" in described.title


CONFIG_PY = """
open({witness!r}, "w").close()
model = {model!r}
data = dict(test=dict(pipeline={steps!r}))
"""


@pytest.fixture
def witness(tiny_model_folder, tmp_path):
    """A file that the folder's config.py writes. It shows pictures of 40 pixels, of which 32 are taken."""
    steps = copy.deepcopy(helpers.TINY_CONFIGURATION["preprocessor"]["val"])
    steps[1]["size"] = [40, -1]
    model, file = helpers.TINY_CONFIGURATION["model"]["mm_model"], tmp_path / "was_run"
    (tiny_model_folder / "config.py").write_text(CONFIG_PY.format(model=model, steps=steps, witness=str(file)))
    return file


def test_describe__code_is_run_on_trust_only(tiny_model_folder, witness):
    described = describe(tiny_model_folder)
    assert "size (36, -1)" in described.in_words()["input"] and "was not run" in described.notes[0]
    assert not witness.exists()
    described = describe(tiny_model_folder, trust_remote_code=True)
    assert "size (40, -1)" in described.in_words()["input"] and "was run" in described.notes[0]
    assert witness.exists()


def test_describe__a_folder_of_code_alone(tiny_model_folder, witness):
    (tiny_model_folder / "configuration.json").unlink()
    with pytest.raises(CheckpointError, match="config.py is Python code.*--trust-remote-code"):
        describe(tiny_model_folder)
    assert not witness.exists()
    assert describe(tiny_model_folder, trust_remote_code=True).class_names == helpers.TINY_CLASSES


def test_describe__a_network_of_mmcls_by_its_files(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))
    torch.save({"state_dict": network.state_dict(), "meta": {"CLASSES": ["cat", "dog"]}}, tmp_path / "pytorch_model.pt")
    head = {"type": "LinearClsHead", "num_classes": 2, "in_channels": 8, "loss": {"type": "CrossEntropyLoss"}}
    mm_model = {"type": "ImageClassifier", "backbone": {"type": "ResNet", "depth": 18}, "neck": None, "head": head}
    content = helpers.TINY_CONFIGURATION | {"model": {"type": "ClassificationModel", "mm_model": mm_model}}
    (tmp_path / "configuration.json").write_text(json.dumps(content))
    described = describe(tmp_path)
    assert described.num_parameters == sum(weight.numel() for weight in network.parameters())
    assert described.class_names == ("cat", "dog")
    assert "ResNet" in described.in_words()["network"] and "CenterCrop crop_size 32" in described.in_words()["input"]
    assert json.loads(json.dumps(described.as_json()))["network"]["mm_model"]["backbone"]["depth"] == 18


def test_describe__network_of_timm(tmp_path):
    network = timm_network()
    described = describe(write_timm_folder(network, tmp_path / "bit"))
    assert described.title.startswith("model.safetensors: timm resnetv2_50x1_bit; 3 classes, 64x64 pixels")
    assert described.num_parameters == sum(weight.numel() for weight in network.parameters())
    assert described.in_words()["network"].startswith("resnetv2_50x1_bit of timm")
    assert described.as_json()["network"]["width"] == 32
    assert "convert" in described.notes[0]
    headless = write_timm_folder(timm_network("test_resnet", num_classes=0), tmp_path / "headless")
    assert describe(headless).notes[0].startswith("It has no classifier")


def test_describe__what_a_calibration_has_stored(tiny_model_folder):
    assert "scores" not in describe(tiny_model_folder).in_words()
    assert "confidence" not in describe(tiny_model_folder).as_json()
    helpers.calibrate_by_hand(tiny_model_folder, 1.5, -2.0)
    described = describe(tiny_model_folder)
    assert described.in_words()["scores"].startswith("temperature 1.5, fitted to 100 pictures (photos)")
    assert json.loads(json.dumps(described.as_json()))["confidence"]["unknown_below"] == -2.0
    helpers.calibrate_by_hand(tiny_model_folder, 1.5, -2.0, weights="configuration.json")
    assert "not applied: that is for other weights" in describe(tiny_model_folder).in_words()["scores"]
