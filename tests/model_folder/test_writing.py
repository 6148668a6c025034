"""Writing model folders; the stock ModelScope class with mmcls opens what was written, and so do we."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import helpers
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.errors import CheckpointError, ModelFolderError
from modelscope_beit.model_folder import writing
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.model_folder.writing import check_target, write_model_folder
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.configuration import FolderSettings, read_configuration
from modelscope_beit.settings.model import model_settings
from modelscope_beit.settings.preprocessing import evaluation_steps

CARD = "---\nlicense: other\n---\n# A tiny model\n"
STEPS = evaluation_steps(32, mean=(127.5,) * 3, std=(127.5,) * 3, crop_pct=0.9)


@pytest.fixture
def tiny_folder_settings(tiny_settings):
    return FolderSettings(tiny_settings, STEPS, helpers.TINY_CLASSES)


def write(folder, settings, classifier, **options):
    return write_model_folder(folder, settings, classifier.state_dict(), card=CARD, **options)


def logits_of(network, images):
    with torch.no_grad():
        return network(images)


def stock_model(folder):
    """Opens a folder with ModelScope's stock class, not with ours that is registered over it."""
    pytest.importorskip("mmcls", reason="the stock class needs mmcls")
    stock = pytest.importorskip(
        "modelscope.models.cv.image_classification.mmcls_model", reason="ModelScope's stock class is the oracle"
    )
    return stock.ClassificationModel(str(folder))


def stock_logits(model, images):
    with torch.no_grad():
        return model.cls_model.eval().simple_test(images, softmax=False, post_process=False)


def test_write_model_folder__we_open_it(tmp_path, tiny_folder_settings, tiny_classifier):
    folder = write(tmp_path / "model", tiny_folder_settings, tiny_classifier)
    assert folder == tmp_path / "model"
    opened = open_model(folder)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(logits_of(opened.network, images), logits_of(tiny_classifier, images))
    assert (opened.class_names, opened.settings.preprocessing) == (helpers.TINY_CLASSES, STEPS)
    assert opened.settings.model == tiny_folder_settings.model


def test_write_model_folder__files(tmp_path, tiny_folder_settings, tiny_classifier):
    folder = write(tmp_path / "deep" / "model", tiny_folder_settings, tiny_classifier)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "classname.txt", "configuration.json", "pytorch_model.pt")
    ]
    assert (folder / "README.md").read_text() == CARD
    assert (folder / "classname.txt").read_text(encoding="utf-8").split("\n")[:-1] == list(helpers.TINY_CLASSES)
    content = torch.load(folder / "pytorch_model.pt", weights_only=True)
    assert content["meta"] == {"CLASSES": list(helpers.TINY_CLASSES)}
    assert content["state_dict"].keys() == tiny_classifier.state_dict().keys()
    # The stock trainer would take names here for those of the training data.
    assert json.loads((folder / "configuration.json").read_text())["dataset"] == {"classes": None}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.openmmlab
def test_write_model_folder__stock_class_opens_beit_v2(tmp_path, tiny_folder_settings, tiny_classifier, monkeypatch):
    backbones = pytest.importorskip(
        "modelscope.models.cv.image_classification.backbones.beit_v2", reason="ModelScope's backbone needs mmcls"
    )
    folder = write(tmp_path / "model", tiny_folder_settings, tiny_classifier)
    # The stock class knows sizes by name only.
    for table, value in (("embed_dims", 32), ("depths", 2), ("num_heads", 2), ("mlp_ratios", 2)):
        monkeypatch.setitem(getattr(backbones.BEiTv2, table), "tiny", value)
    configuration = json.loads((folder / "configuration.json").read_text())
    configuration["model"]["mm_model"]["backbone"]["arch"] = "tiny"
    (folder / "configuration.json").write_text(json.dumps(configuration))
    model = stock_model(folder)
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(stock_logits(model, images), logits_of(tiny_classifier, images), atol=1e-5)
    assert tuple(model.CLASSES) == helpers.TINY_CLASSES


@pytest.mark.openmmlab
@pytest.mark.parametrize("hidden_width", [None, 96])
@pytest.mark.parametrize("distilled", [{}, {"distilled": True, "pooling": "two_tokens"}])
def test_write_model_folder__stock_class_opens_vision_transformer(tmp_path, distilled, hidden_width):
    model = model_settings("vit", "tiny", num_classes=3, image_size=(32, 32), **distilled)
    settings = FolderSettings(replace(model, hidden_width=hidden_width), STEPS, ("a", "b", "c"))
    classifier = helpers.with_random_weights(build_classifier(settings.model)).eval()
    folder = write(tmp_path / "model", settings, classifier)
    images = torch.randn(2, 3, 32, 32)
    model = stock_model(folder)
    assert torch.allclose(stock_logits(model, images), logits_of(classifier, images), atol=1e-4, rtol=1e-4)
    assert torch.equal(logits_of(open_model(folder).network, images), logits_of(classifier, images))


@pytest.mark.slow
@pytest.mark.openmmlab
def test_write_model_folder__stock_class_opens_base(tmp_path):
    settings = FolderSettings(
        model_settings("beitv2", "base"), evaluation_steps(224, mean=(1,) * 3, std=(1,) * 3), ("x",) * 1000
    )
    classifier = build_classifier(settings.model).eval()
    model = stock_model(write(tmp_path / "model", settings, classifier))
    images = torch.randn(1, 3, 224, 224)
    assert torch.allclose(stock_logits(model, images), logits_of(classifier, images), atol=1e-5)


@pytest.mark.openmmlab
def test_write_model_folder__stock_preprocessor_opens_it(tmp_path, tiny_folder_settings, tiny_classifier, photographs):
    pytest.importorskip("mmcls", reason="the stock class needs mmcls")
    stock = pytest.importorskip(
        "modelscope.preprocessors.cv.mmcls_preprocessor", reason="the stock class is the oracle"
    )
    folder = write(tmp_path / "model", tiny_folder_settings, tiny_classifier)
    bgr = np.asarray(photographs[0])[:, :, ::-1].copy()
    pixels = stock.ImageClassificationMmcvPreprocessor(str(folder))(bgr)["img"]
    assert torch.allclose(pixels, open_model(folder).transform(photographs[0]), atol=1e-5)


def test_write_model_folder__keeps_the_recipe_of_the_folder_it_came_from(tmp_path, tiny_classifier):
    content = helpers.TINY_CONFIGURATION | {"train": {"optimizer": {"type": "SGD"}}, "mystery": [1]}
    settings = read_configuration(content | {"dataset": {"classes": list("abcde")}}, "x")
    written = json.loads((write(tmp_path / "m", settings, tiny_classifier) / "configuration.json").read_text())
    assert written["train"]["optimizer"] == {"type": "SGD"}
    assert written["mystery"] == [1]


def test_write_model_folder__class_names_must_fit(tmp_path, tiny_settings, tiny_classifier):
    with pytest.raises(ModelFolderError, match="needs class names"):
        write(tmp_path / "model", FolderSettings(tiny_settings, STEPS), tiny_classifier)
    with pytest.raises(ModelFolderError, match="gives 2 class names, but the network's head has 5"):
        write(tmp_path / "model", FolderSettings(tiny_settings, STEPS, ("a", "b")), tiny_classifier)
    assert list(tmp_path.iterdir()) == []


def test_write_model_folder__existing_folders(tmp_path, tiny_folder_settings, tiny_classifier):
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder, tiny_folder_settings, tiny_classifier)  # An empty folder is as good as none.
    with pytest.raises(ModelFolderError, match=r"is not empty \(it holds README.md, classname.txt"):
        write(folder, tiny_folder_settings, tiny_classifier)
    (folder / "checkpoints.pth").write_bytes(b"old")
    write(folder, tiny_folder_settings, tiny_classifier, overwrite=True)
    assert not (folder / "checkpoints.pth").exists()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelFolderError, match="more than a model: thesis.txt"):
        write(folder, tiny_folder_settings, tiny_classifier, overwrite=True)
    assert (folder / "thesis.txt").exists()


def test_check_target__file(tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(ModelFolderError, match="is a file"):
        check_target(tmp_path / "model", overwrite=True)


def test_write_model_folder__onto_the_folder_whose_weights_it_reads(tmp_path, tiny_folder_settings, tiny_classifier):
    folder = write(tmp_path / "model", tiny_folder_settings, tiny_classifier)
    mapped = read_weights(folder / "pytorch_model.pt").tensors
    write_model_folder(folder, tiny_folder_settings, mapped, card="new", overwrite=True)
    assert torch.equal(open_model(folder).network.head.fc.weight, tiny_classifier.head.fc.weight)
    assert (folder / "README.md").read_text() == "new"


@pytest.mark.parametrize("failing", ["write_weights", "write_labels"])
def test_write_model_folder__a_failure_leaves_what_was_there(
    tmp_path, tiny_folder_settings, tiny_classifier, monkeypatch, failing
):
    folder = write(tmp_path / "model", tiny_folder_settings, tiny_classifier)

    def fail(*_):
        raise CheckpointError("No space left on device")

    monkeypatch.setattr(writing, failing, fail)
    with pytest.raises(CheckpointError, match="No space left"):
        write(folder, tiny_folder_settings, tiny_classifier, overwrite=True)
    assert open_model(folder).class_names == helpers.TINY_CLASSES
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_write_model_folder__a_failing_rename_puts_the_old_folder_back(
    tmp_path, tiny_folder_settings, tiny_classifier, monkeypatch
):
    folder = write(tmp_path / "model", tiny_folder_settings, tiny_classifier)
    rename = Path.rename

    def fail_for_the_new_one(self, target):
        if "-unfinished-" in self.name:
            raise OSError("Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="Permission denied"):
        write(folder, tiny_folder_settings, tiny_classifier, overwrite=True)
    assert open_model(folder).class_names == helpers.TINY_CLASSES
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
