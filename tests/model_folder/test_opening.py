"""Opening folders that were written by hand, by torch.save, by other libraries; and every way in which it fails."""

import copy
import json
import logging

import pytest
import torch
from safetensors.torch import save_file

import helpers
from modelscope_beit.errors import CheckpointError, ModelFolderError, SettingsError, UntrustedCodeError
from modelscope_beit.model_folder.opening import open_model

CONFIG_PY = """
model = dict(type='ImageClassifier', backbone={backbone!r}, neck=None, head={head!r})
img_norm_cfg = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', size=(36, -1), backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='ImageToTensor', keys=['img']),
    dict(type='Collect', keys=['img']),
]
data = dict(samples_per_gpu=64, test=dict(type='ImageNet', pipeline=test_pipeline))
open({witness!r}, 'w').close()
"""


def rewrite(folder, **changes):
    """Changes configuration.json; a__b=1 is a.b = 1."""
    content = copy.deepcopy(helpers.TINY_CONFIGURATION)
    for path, value in changes.items():
        *parents, name = path.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        section[name] = value
    (folder / "configuration.json").write_text(json.dumps(content))


def save_weights(folder, classifier, meta):
    torch.save({"state_dict": classifier.state_dict(), "meta": meta}, folder / "pytorch_model.pt")


def write_config_py(folder, tmp_path):
    mm_model = helpers.TINY_CONFIGURATION["model"]["mm_model"]
    witness = tmp_path / "was_run"
    (folder / "config.py").write_text(CONFIG_PY.format(**mm_model, witness=str(witness)))
    return witness


def test_open_model__same_logits_and_names(tiny_model_folder, tiny_classifier):
    opened = open_model(tiny_model_folder)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(opened.network(images), tiny_classifier(images))
    assert opened.class_names == helpers.TINY_CLASSES
    assert not opened.network.training
    assert opened.folder == tiny_model_folder


def test_open_model__transform_is_that_of_the_configuration(tiny_model_folder, photographs):
    pixels = open_model(tiny_model_folder).transform(photographs[0])
    assert pixels.shape == (3, 32, 32)


def test_open_model__meta_device(tiny_model_folder):
    assert open_model(tiny_model_folder, device="meta").network.head.fc.weight.device.type == "meta"


@pytest.mark.parametrize("name", ["checkpoints.pth", "model.safetensors"])
def test_open_model__other_weight_files(tiny_model_folder, tiny_classifier, name):
    (tiny_model_folder / "pytorch_model.pt").unlink()
    (tiny_model_folder / "classname.txt").write_text("a\nb\nc\nd\ne\n")
    if name.endswith(".pth"):
        torch.save(tiny_classifier.state_dict(), tiny_model_folder / name)
    else:
        save_file(tiny_classifier.state_dict(), tiny_model_folder / name)
    opened = open_model(tiny_model_folder)
    assert opened.class_names == tuple("abcde")
    assert torch.equal(opened.network.head.fc.weight, tiny_classifier.head.fc.weight)


def test_open_model__class_names_of_weights_configuration_file_in_this_order(tiny_model_folder, tiny_classifier):
    (tiny_model_folder / "classname.txt").write_text("a\nb\nc\nd\ne\n")
    (tiny_model_folder / "labels.txt").write_text("f\ng\nh\ni\nj\n")
    rewrite(tiny_model_folder, dataset={"classes": list("vwxyz")})
    assert open_model(tiny_model_folder).class_names == helpers.TINY_CLASSES
    save_weights(tiny_model_folder, tiny_classifier, {"CLASSES": None})
    assert open_model(tiny_model_folder).class_names == tuple("vwxyz")
    rewrite(tiny_model_folder, dataset={"classes": "labels.txt"})
    assert open_model(tiny_model_folder).class_names == tuple("fghij")
    rewrite(tiny_model_folder, dataset={"classes": "elsewhere/labels.txt"})
    assert open_model(tiny_model_folder).class_names == tuple("abcde")


def test_open_model__no_class_names(tiny_model_folder, tiny_classifier):
    save_weights(tiny_model_folder, tiny_classifier, {})
    with pytest.raises(ModelFolderError, match="what its 5 classes are called. Add classname.txt"):
        open_model(tiny_model_folder)
    rewrite(tiny_model_folder, dataset={"classes": "labels.txt"})
    with pytest.raises(ModelFolderError, match="names labels.txt, which is not there"):
        open_model(tiny_model_folder)


def test_open_model__wrong_number_of_class_names(tiny_model_folder, tiny_classifier):
    save_weights(tiny_model_folder, tiny_classifier, {"CLASSES": ("a", "b")})
    with pytest.raises(ModelFolderError, match="gives 2 class names, but the network's head has 5 classes"):
        open_model(tiny_model_folder)
    save_weights(tiny_model_folder, tiny_classifier, {})
    rewrite(tiny_model_folder, dataset={"classes": list("abcdef")})
    with pytest.raises(ModelFolderError, match="dataset.classes in .* gives 6 class names"):
        open_model(tiny_model_folder)


def test_open_model__head_of_another_size_than_the_configuration(tiny_model_folder):
    rewrite(tiny_model_folder, model__mm_model__head__num_classes=7, dataset={"classes": list("abcdefg")})
    with pytest.raises((ModelFolderError, CheckpointError), match="5"):
        open_model(tiny_model_folder)


def test_open_model__no_weights(tiny_model_folder):
    (tiny_model_folder / "pytorch_model.pt").unlink()
    with pytest.raises(ModelFolderError) as raised:
        open_model(tiny_model_folder)
    for name in ("pytorch_model.pt", "checkpoints.pth", "model.safetensors", "holds configuration.json"):
        assert name in str(raised.value)


def test_open_model__no_configuration(tiny_model_folder):
    (tiny_model_folder / "configuration.json").unlink()
    with pytest.raises(ModelFolderError, match=r"has no configuration.json(.|\n)*beit convert"):
        open_model(tiny_model_folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{'task': 1}"])
def test_open_model__configuration_is_no_json(tiny_model_folder, content):
    (tiny_model_folder / "configuration.json").write_bytes(content)
    with pytest.raises(ModelFolderError, match="configuration.json must be a JSON file"):
        open_model(tiny_model_folder)


def test_open_model__configuration_is_a_list(tiny_model_folder):
    (tiny_model_folder / "configuration.json").write_text("[1]")
    with pytest.raises(SettingsError, match="configuration.json must hold a mapping"):
        open_model(tiny_model_folder)


def test_open_model__names_the_file_of_a_mistake(tiny_model_folder):
    rewrite(tiny_model_folder, model__mm_model__backbone__arch="bas")
    with pytest.raises(SettingsError, match=r"tiny_model.configuration.json cannot be used(.|\n)*did you mean base"):
        open_model(tiny_model_folder)


def test_open_model__code_is_not_run_without_trust(tiny_model_folder, tmp_path):
    witness = write_config_py(tiny_model_folder, tmp_path)
    with pytest.raises(UntrustedCodeError, match="trust_remote_code=True.*Without that file configuration.json alone"):
        open_model(tiny_model_folder)
    rewrite(tiny_model_folder, model={"type": "ClassificationModel"})
    with pytest.raises(UntrustedCodeError, match="configuration.json does not describe the network"):
        open_model(tiny_model_folder)
    assert not witness.exists()


def test_open_model__code_with_trust_goes_before_json(tiny_model_folder, tmp_path):
    witness = write_config_py(tiny_model_folder, tmp_path)
    opened = open_model(tiny_model_folder, trust_remote_code=True)
    assert witness.exists()
    assert opened.settings.preprocessing[3].mean == (1.0, 2.0, 3.0)
    assert opened.class_names == helpers.TINY_CLASSES


def test_open_model__weights_that_hold_code(tiny_model_folder):
    class Malicious:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"state_dict": {}, "meta": Malicious()}, tiny_model_folder / "pytorch_model.pt")
    with pytest.raises(UntrustedCodeError):
        open_model(tiny_model_folder, trust_remote_code=True)


def test_open_model__unread_keys_are_named_in_the_log(tiny_model_folder, caplog):
    rewrite(tiny_model_folder, trian={"max_epochs": 3})
    with caplog.at_level(logging.INFO, logger="modelscope_beit"):
        open_model(tiny_model_folder)
    assert "trian" in caplog.text


def test_open_model__hub_id_says_how_to_get_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFolderError, match="modelscope download --model damo/some_model"):
        open_model("damo/some_model")


def save_as_mmcv_does(model, folder, mm_model, class_names):
    runner = pytest.importorskip("mmcv.runner", reason="mmcv writes the checkpoint")
    folder.mkdir()
    # CLASSES as a tuple, versions, time: what mmcv's own training leaves.
    runner.save_checkpoint(model, str(folder / "pytorch_model.pt"), meta={"CLASSES": class_names, "epoch": 3})
    configuration = helpers.TINY_CONFIGURATION | {"model": {"type": "ClassificationModel", "mm_model": mm_model}}
    (folder / "configuration.json").write_text(json.dumps(configuration))


@pytest.mark.openmmlab
def test_open_model__folder_of_the_stock_beit_v2(tmp_path, monkeypatch):
    mmcls_models = pytest.importorskip("mmcls.models", reason="the stock class is the oracle and needs mmcls")
    backbones = pytest.importorskip(
        "modelscope.models.cv.image_classification.backbones.beit_v2", reason="ModelScope's backbone needs mmcls"
    )
    for table, value in (("embed_dims", 32), ("depths", 2), ("num_heads", 2), ("mlp_ratios", 2)):
        monkeypatch.setitem(getattr(backbones.BEiTv2, table), "tiny", value)
    mm_model = copy.deepcopy(helpers.TINY_CONFIGURATION["model"]["mm_model"])
    mm_model["backbone"]["arch"] = "tiny"
    stock = helpers.with_random_weights(mmcls_models.build_classifier(mm_model)).eval()
    save_as_mmcv_does(stock, tmp_path / "m", helpers.TINY_CONFIGURATION["model"]["mm_model"], helpers.TINY_CLASSES)
    opened = open_model(tmp_path / "m")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = stock.simple_test(images, softmax=False, post_process=False)
        assert torch.allclose(opened.network(images), expected, atol=1e-5)
    assert opened.class_names == helpers.TINY_CLASSES


@pytest.mark.openmmlab
@pytest.mark.parametrize("hidden_dim", [None, 48])
@pytest.mark.parametrize(
    ("kind", "head"),
    [("VisionTransformer", "VisionTransformerClsHead"), ("DistilledVisionTransformer", "DeiTClsHead")],
)
def test_open_model__folder_of_mmcls_vision_transformer(tmp_path, kind, head, hidden_dim):
    mmcls_models = pytest.importorskip("mmcls.models", reason="mmcls is the oracle")
    size = {"embed_dims": 32, "num_layers": 2, "num_heads": 2, "feedforward_channels": 64}
    mm_model = {
        "type": "ImageClassifier",
        "backbone": {"type": kind, "arch": size, "img_size": 32, "patch_size": 8},
        "head": {"type": head, "num_classes": 5, "in_channels": 32, "hidden_dim": hidden_dim},
    }
    stock = helpers.with_random_weights(mmcls_models.build_classifier(copy.deepcopy(mm_model))).eval()
    save_as_mmcv_does(stock, tmp_path / "m", mm_model, helpers.TINY_CLASSES)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = stock.simple_test(images, softmax=False, post_process=False)
        assert torch.allclose(open_model(tmp_path / "m").network(images), expected, atol=1e-5)


def test_open_model__calibrated(tiny_model_folder):
    helpers.calibrate_by_hand(tiny_model_folder, 1.5, -2.0)
    confidence = open_model(tiny_model_folder).confidence
    assert (confidence.temperature, confidence.unknown_below) == (1.5, -2.0)


def test_open_model__calibrated_with_other_weights_warns_and_goes_without(tiny_model_folder, tiny_classifier, caplog):
    helpers.calibrate_by_hand(tiny_model_folder, 1.5, -2.0)
    helpers.with_random_weights(tiny_classifier, seed=9)
    save_weights(tiny_model_folder, tiny_classifier, {"CLASSES": list(helpers.TINY_CLASSES)})
    with caplog.at_level(logging.WARNING):
        assert open_model(tiny_model_folder).confidence is None
    assert "calibrated with other weights" in caplog.text and f"beit calibrate {tiny_model_folder} DATA" in caplog.text


def test_open_model__a_broken_calibration_is_refused(tiny_model_folder):
    helpers.calibrate_by_hand(tiny_model_folder, -1.5, -2.0)
    with pytest.raises(SettingsError, match=r"confidence\.temperature is -1\.5"):
        open_model(tiny_model_folder)
