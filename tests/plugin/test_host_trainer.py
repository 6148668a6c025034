"""What our commands get is ModelScope's trainer, and ours behind it, with MsDatasets of a folder."""

from pathlib import Path
from typing import Any

import pytest
from modelscope.msdatasets import MsDataset

import class_folders
from modelscope_beit.plugin.host_trainer import open_trainer
from modelscope_beit.plugin.trainer import BeitImageClassificationTrainer


def test_open_trainer__opens_the_parts_of_a_folder(
    tmp_path: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def change(cfg: Any) -> None:
        cfg.train.max_epochs = 7

    data = class_folders.write_parts(tmp_path / "photos", num_train=6, num_validation=3)
    trainer: Any = open_trainer(
        tiny_model_folder, data, work_dir=tmp_path / "run", cache=tmp_path / "cache", cfg_modify_fn=change
    )
    assert isinstance(trainer, BeitImageClassificationTrainer)
    assert (trainer.max_epochs, trainer.device, trainer.work_dir) == (7, "cpu", str(tmp_path / "run"))
    for dataset, number in ((trainer.train_dataset, 6), (trainer.eval_dataset, 3)):
        assert isinstance(dataset, MsDataset) and len(dataset) == number
    assert any((tmp_path / "cache").rglob("*.arrow"))
    assert "Downloading" not in capfd.readouterr().err


def test_open_trainer__notices_new_pictures(tmp_path: Path, tiny_model_folder: Path) -> None:
    """MsDataset's table of the first time is there, and must not be taken for the folder."""
    data = tmp_path / "photos"
    lengths = []
    for number in (3, 6):
        class_folders.write_parts(data, num_train=number, num_validation=3)
        trainer: Any = open_trainer(
            tiny_model_folder,
            data,
            work_dir=tmp_path / "run",
            cache=tmp_path / "cache",
            cfg_modify_fn=lambda cfg: cfg,
        )
        lengths.append(len(trainer.train_dataset))
    assert lengths == [3, 6]
