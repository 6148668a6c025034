"""Folders of transformers, converted and read back; the proof is a comparison with transformers itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.errors import CheckpointError, ModelFolderError, SettingsError
from modelscope_beit.model_folder import segmentation_conversion
from modelscope_beit.model_folder.conversion import ConversionRequest
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.model_folder.segmentation_conversion import convert_segmentation
from segmentation_models import LABELS, transformers_segmentation, write_transformers_folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return write_transformers_folder(tmp_path / "theirs", transformers_segmentation())


def test_convert_segmentation__writes_what_the_host_opens(theirs: Path, tmp_path: Path) -> None:
    done = convert_segmentation(theirs, tmp_path / "ours", ConversionRequest())
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "README.md",
        "configuration.json",
        "model.safetensors",
    ]
    content = json.loads((done.folder / "configuration.json").read_text(encoding="utf-8"))
    assert (content["framework"], content["task"]) == ("pytorch", "semantic-segmentation")
    assert content["pipeline"] == {"type": "beit-semantic-segmentation"} and content["dataset"]["classes"] == [*LABELS]
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert "tasks:\n- semantic-segmentation\n" in card and 'pipeline("semantic-segmentation", model=' in card
    assert done.proof.library == "transformers" and done.proof.largest_difference < 1e-4
    assert "150" not in done.in_words()["classes"] and done.in_words()["classes"] == "5, names from the source"


def test_convert_segmentation__weights_are_those_of_the_source(theirs: Path, tmp_path: Path) -> None:
    convert_segmentation(theirs, tmp_path / "ours", ConversionRequest())
    before = read_weights(theirs / "model.safetensors").tensors
    after = read_weights(tmp_path / "ours" / "model.safetensors").tensors
    pairs = {
        "head.fusion.kernel.weight": "decode_head.fpn_bottleneck.conv.weight",
        "head.pooled.3.norm.running_var": "decode_head.psp_modules.3.1.bn.running_var",
        "neck.up4_last.bias": "fpn1.3.bias",
        "backbone.blocks.2.gamma_1": "beit.encoder.layer.2.lambda_1",
    }
    assert all(torch.equal(after[ours], before[name]) for ours, name in pairs.items())
    assert not [key for key in after if "auxiliary" in key]


def test_convert_segmentation__without_names_asks_for_them(tmp_path: Path) -> None:
    numbered = {"id2label": {0: "LABEL_0", 1: "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    theirs = write_transformers_folder(tmp_path / "theirs", transformers_segmentation(**numbered))
    with pytest.raises(ModelFolderError, match="2 classes are called; give --labels FILE"):
        convert_segmentation(theirs, tmp_path / "ours", ConversionRequest())
    labels = tmp_path / "labels.txt"
    labels.write_text("ground\nsky\n")
    done = convert_segmentation(theirs, tmp_path / "ours", ConversionRequest(labels=labels))
    assert done.settings.class_names == ("ground", "sky") and done.names_origin == str(labels)


@pytest.mark.parametrize(
    ("request_of", "option"),
    [
        ({"to": "timm"}, "--to"),
        ({"image_size": (64, 64)}, "--size"),
        ({"family": "beit"}, "--family"),
        ({"num_classes": 3}, "--num-classes"),
    ],
    ids=str,
)
def test_convert_segmentation__refuses_other_wishes(
    theirs: Path, tmp_path: Path, request_of: dict[str, Any], option: str
) -> None:
    with pytest.raises(SettingsError, match=f"{option} cannot be used"):
        convert_segmentation(theirs, tmp_path / "ours", ConversionRequest(**request_of))
    assert not (tmp_path / "ours").exists()


def test_convert_segmentation__replaces_its_own_folder_only_when_asked(theirs: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    convert_segmentation(theirs, ours, ConversionRequest())
    with pytest.raises(ModelFolderError, match="not empty"):
        convert_segmentation(theirs, ours, ConversionRequest())
    convert_segmentation(theirs, ours, ConversionRequest(overwrite=True))
    with pytest.raises(ModelFolderError, match="already"):
        convert_segmentation(ours, tmp_path / "again", ConversionRequest())


def test_convert_segmentation__failure_leaves_nothing(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> None:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(segmentation_conversion, "write_weights", fail)
    with pytest.raises(CheckpointError, match="full"):
        convert_segmentation(theirs, tmp_path / "ours", ConversionRequest())
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_convert_segmentation__a_processor_that_crops_is_refused(theirs: Path, tmp_path: Path) -> None:
    write_transformers_folder(
        theirs, transformers_segmentation(), do_center_crop=True, crop_size={"height": 28, "width": 28}
    )
    with pytest.raises(SettingsError, match="the preprocessing crops"):
        convert_segmentation(theirs, tmp_path / "ours", ConversionRequest())


def test_open_model__says_that_the_folder_is_for_another_task(theirs: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    convert_segmentation(theirs, ours, ConversionRequest())
    with pytest.raises(
        SettingsError, match=r"open its folder by pipeline\('semantic-segmentation', model=FOLDER\)"
    ) as told:
        open_model(ours)
    assert str(ours) in str(told.value) and "\n" not in str(told.value)
