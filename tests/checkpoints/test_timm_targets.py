"""Oracle: timm opens what was written, and prepares pictures as it says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import helpers
from modelscope_beit.checkpoints.timm_files import read_timm_file
from modelscope_beit.checkpoints.timm_networks import open_timm_source
from modelscope_beit.checkpoints.timm_targets import write_timm_network
from modelscope_beit.errors import CheckpointError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_steps import ForeignSteps
from timm_networks import BIT, CLASSES, timm_network, write_timm_folder

timm = pytest.importorskip("timm", reason="it opens what was written")


def written_again(network: Any, folder: Path, **config: Any) -> tuple[Path, FolderSettings]:
    """Writes timm's folder, reads it as ours and writes it for timm; returns the second and the settings."""
    file = read_timm_file(write_timm_folder(network, folder / "theirs", **config))
    assert file is not None
    source = open_timm_source(file)
    settings = FolderSettings(source.settings, source.preprocessing, source.class_names)
    write_timm_network(folder / "ours", settings, source.tensors)
    return folder / "ours", settings


@pytest.mark.parametrize("name", [BIT, "test_resnet"])
def test_write_timm_network__timm_opens_the_same_network(tmp_path: Path, name: str) -> None:
    theirs = timm_network(name)
    folder, _ = written_again(theirs, tmp_path)
    again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert again.pretrained_cfg["label_names"] == CLASSES
    assert again.num_classes == 3
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(again(images), theirs(images))


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_write_timm_network__timm_prepares_pictures_as_ours(tmp_path: Path, crop_mode: str) -> None:
    config = {"input_size": (3, 96, 96), "crop_pct": 0.9, "crop_mode": crop_mode, "mean": (0.5,) * 3, "std": (0.4,) * 3}
    network = timm_network("test_resnet")
    network.pretrained_cfg |= config
    folder, settings = written_again(network, tmp_path)
    again = timm.create_model(f"local-dir:{folder}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=again))
    for picture in helpers.photographs():
        theirs = transform(picture)
        ours = EvaluationTransform(settings.preprocessing)(picture)  # type: ignore[arg-type]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_write_timm_network__steps_of_mmcls_and_full_folder(tmp_path: Path) -> None:
    file = read_timm_file(write_timm_folder(timm_network("test_resnet"), tmp_path / "theirs"))
    assert file is not None
    source = open_timm_source(file)
    foreign = ForeignSteps(({"type": "Albu"},), ("val[0] is of type 'Albu'",))
    with pytest.raises(CheckpointError, match="Steps of mmcls cannot be written for timm; val.0. is of type 'Albu'"):
        write_timm_network(tmp_path / "ours", FolderSettings(source.settings, foreign), source.tensors)
    with pytest.raises(CheckpointError, match="exists and is not an empty folder"):
        write_timm_network(tmp_path / "theirs", FolderSettings(source.settings, source.preprocessing), source.tensors)
    write_timm_network(tmp_path / "ours", FolderSettings(source.settings, source.preprocessing), source.tensors)
    assert "label_names" not in json.loads((tmp_path / "ours" / "config.json").read_text())
