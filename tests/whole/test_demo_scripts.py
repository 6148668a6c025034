"""The scripts in demo/ that people copy run as they are, from another folder and without a network."""

import os
import subprocess
import sys
from pathlib import Path

import class_folders
import helpers
import training_jobs
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.plugin.host_pipeline import open_pipeline


def run_script(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(helpers.ROOT),
        "MODELSCOPE_CACHE": str(folder / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, str(helpers.ROOT / "demo" / name), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_fine_tune_your_pictures__trains_what_pipeline_opens(tmp_path: Path) -> None:
    class_folders.write_parts(tmp_path / "photos")
    finished = run_script("fine_tune_your_pictures.py", tmp_path, "photos", "run")
    assert finished.returncode == 0, finished.stderr
    assert "'accuracy_top-1': " in finished.stdout
    assert (tmp_path / "run" / "report.html").is_file()
    picture = min((tmp_path / "photos" / "val").rglob("*.png"))
    assert set(open_pipeline(tmp_path / "run" / "output")(str(picture))["labels"]) == set(training_jobs.CLASSES)


def test_classify_pictures__prints_a_line_for_each(tmp_path: Path) -> None:
    pictures = [str(path) for path in sorted(find_model_folder().glob("pictures/*.png"))[:3]]
    finished = run_script("classify_pictures.py", tmp_path, *pictures)
    assert finished.returncode == 0, finished.stderr
    assert [line.split()[-1] for line in finished.stdout.splitlines()] == pictures
