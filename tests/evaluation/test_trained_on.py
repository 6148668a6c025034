"""Whether pictures are found again among those of a run, by their content."""

import shutil
from pathlib import Path

import numpy as np

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.data.splitting import write_split
from modelscope_beit.evaluation.trained_on import count_trained_on


def records_of(paths: list[Path]) -> Records:
    return Records(
        FilePictures([str(path) for path in paths]), np.zeros(len(paths), np.int64), ("cat",), description="files"
    )


def test_count_trained_on__finds_copies_under_other_names(ten_images: list[Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "output").mkdir(parents=True)
    write_split(records_of(ten_images[:6]), records_of(ten_images[6:]), run / "split.jsonl")
    copies = [Path(shutil.copy(path, tmp_path / f"copy_{number}.jpg")) for number, path in enumerate(ten_images)]
    for folder in (run, run / "output"):
        assert count_trained_on(folder, records_of(copies[4:])) == 2
        assert count_trained_on(folder, records_of(copies[6:])) == 0


def test_count_trained_on__nothing_is_known(ten_images: list[Path], tmp_path: Path) -> None:
    assert count_trained_on(tmp_path, records_of(ten_images)) == 0
