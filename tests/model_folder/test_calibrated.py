"""Storing a temperature: what else is in the folder stays, and a write that fails leaves what was there."""

import json
import os
from pathlib import Path

import pytest

import helpers
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import CheckpointError, ModelFolderError
from modelscope_beit.model_folder.calibrated import check_can_be_calibrated, copy_with_confidence, store_confidence
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.settings.confidence import Confidence


def confidence_for(folder: Path, temperature: float = 2.0) -> Confidence:
    return Confidence(temperature, 1.5, 0.05, 200, "照片", file_digest(folder / "pytorch_model.pt"))


def test_store_confidence__is_found_again_beside_all_else(tiny_model_folder: Path) -> None:
    file = tiny_model_folder / "configuration.json"
    file.write_text(json.dumps(helpers.TINY_CONFIGURATION | {"my_own": ["é", {"a": 1}]}), encoding="utf-8")
    for temperature in (2.0, 0.7):
        wanted = confidence_for(tiny_model_folder, temperature)
        store_confidence(tiny_model_folder, wanted)
        assert open_model(tiny_model_folder).confidence == wanted
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content.pop("confidence")["data"] == "照片"
    assert content == helpers.TINY_CONFIGURATION | {"my_own": ["é", {"a": 1}]}
    assert sorted(path.name for path in tiny_model_folder.iterdir()) == ["configuration.json", "pytorch_model.pt"]


def test_store_confidence__a_failing_disk_leaves_the_old_one(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (tiny_model_folder / "configuration.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        store_confidence(tiny_model_folder, confidence_for(tiny_model_folder))
    assert (tiny_model_folder / "configuration.json").read_bytes() == before
    assert len(list(tiny_model_folder.iterdir())) == 2


def test_copy_with_confidence__leaves_the_folder_as_it_is(tiny_model_folder: Path, tmp_path: Path) -> None:
    (tiny_model_folder / "resources").mkdir()
    (tiny_model_folder / "resources" / "a.txt").write_text("kept")
    before = (tiny_model_folder / "configuration.json").read_bytes()
    wanted = confidence_for(tiny_model_folder)
    made = copy_with_confidence(tiny_model_folder, tmp_path / "copy", wanted)
    assert open_model(made).confidence == wanted
    assert (made / "resources" / "a.txt").read_text() == "kept"
    assert (tiny_model_folder / "configuration.json").read_bytes() == before
    with pytest.raises(ModelFolderError, match="not empty"):
        copy_with_confidence(tiny_model_folder, made, wanted)


def test_check_can_be_calibrated__refuses_python_code(tiny_model_folder: Path) -> None:
    (tiny_model_folder / "config.py").write_text("model = {}")
    with pytest.raises(ModelFolderError, match=r"config\.py goes before configuration\.json.*beit convert"):
        check_can_be_calibrated(tiny_model_folder)
