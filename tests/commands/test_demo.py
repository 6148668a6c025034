"""The demo as a newcomer starts it, without a network and with a hub that answers."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import class_folders
import helpers
import training_jobs
from modelscope_beit import names
from modelscope_beit.commands import demo, demo_training
from modelscope_beit.errors import MissingPackageError, ModelFolderError
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.plugin import hub
from modelscope_beit.prediction.contact_sheet import RIGHT

# Stands for a machine without a network: names do not resolve, nothing but this machine can be reached.
NO_NETWORK = """
import socket
def refuse(*arguments, **keywords):
    raise socket.gaierror(socket.EAI_NONAME, "no network in this test")
socket.getaddrinfo = refuse
socket.socket.connect = refuse
"""


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(["--no-training", "--out", str(tmp_path / "sheets")])


def test_demo__runs_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(helpers.ROOT)]),
        "MODELSCOPE_CACHE": str(tmp_path / "cache"),
    }
    class_folders.write_parts(tmp_path / "here" / demo.DIGITS_FOLDER)  # Left as it is: quicker than 1,797 digits.
    command = [sys.executable, "-m", "modelscope_beit", "demo", "--out", "here"]
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "did not answer within 2 s" in finished.stdout
    assert names.HUB_BASE in finished.stdout and names.HUB_LARGE in finished.stdout
    rows = [line for line in finished.stdout.splitlines() if ".png" in line and line.endswith(("right ", "wrong "))]
    garments, trained = rows[:20], rows[20:]
    num_right = sum(row.endswith("right ") for row in garments)
    assert f"{num_right} of 20 right" in finished.stdout
    sheet = Image.open(tmp_path / "here" / demo.SHEET_FILE)
    assert sheet.size == (1264, 1416)
    # Frame, mark and bar of every right answer.
    assert (np.asarray(sheet) == RIGHT).all(axis=2).sum() > num_right * 2500
    assert sorted(row.split()[1] for row in trained) == sorted(training_jobs.CLASSES)
    for written in ("here/run/report.html", "here/run/curves.png", "here/run/output"):
        assert written in finished.stdout and (tmp_path / written).exists()


def test_run__asks_a_hub_that_answers(
    arguments: argparse.Namespace,
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hub, "hub_answers", lambda seconds: seconds == 2.0)
    monkeypatch.setattr(hub, "download_model", lambda model_id: tiny_model_folder)
    assert demo.run(arguments) == 0
    output = capsys.readouterr().out
    for model_id in demo.HUB_MODELS:
        part = output.partition(f"Fetching {model_id}")[2]
        assert any(label in part for label in helpers.TINY_CLASSES)


@pytest.mark.parametrize(
    ("error", "told"), [(ModelFolderError("gone"), "Not tried: gone"), (KeyboardInterrupt(), "Not tried: skipped")]
)
def test_run__passes_over_a_model_that_cannot_be_had(
    arguments: argparse.Namespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    told: str,
) -> None:
    def fail(model_id: str) -> Path:
        raise error

    monkeypatch.setattr(hub, "hub_answers", lambda seconds: True)
    monkeypatch.setattr(hub, "download_model", fail)
    assert demo.run(arguments) == 0
    assert capsys.readouterr().out.count(told) == len(demo.HUB_MODELS)


def test_run__offline_asks_nobody(arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(seconds: float) -> bool:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "hub_answers", fail)
    arguments.offline = True
    assert demo.run(arguments) == 0


@pytest.mark.parametrize(
    ("function", "error", "told"),
    [
        ("write_digits", MissingPackageError("pip install scikit-learn"), "Left out: pip install scikit-learn"),
        ("fine_tune", KeyboardInterrupt("resume_from=[1]"), "Left out: resume_from=[1]"),
        ("fine_tune", KeyboardInterrupt(), "Left out: skipped"),
    ],
)
def test_run__goes_on_without_training(
    arguments: argparse.Namespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    function: str,
    error: BaseException,
    told: str,
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(demo_training, "write_digits", lambda folder: None)
    monkeypatch.setattr(demo_training, function, fail)
    arguments.no_training, arguments.offline = False, True
    assert demo.run(arguments) == 0
    before, found, after = capsys.readouterr().out.partition(told)
    assert found and "Contact sheet" in before and names.HUB_LARGE in after


def test_run__says_where_the_sheet_cannot_go(arguments: argparse.Namespace, tmp_path: Path) -> None:
    (tmp_path / "sheets").write_text("a file where the folder should be")
    with pytest.raises(ModelFolderError, match="sheets.*Choose --out DIR"):
        demo.run(arguments)


def test_shipped_pictures__are_two_of_each_class() -> None:
    shown = list(demo.shipped_pictures(find_model_folder("embedded")).values())
    class_names = (find_model_folder("embedded") / names.CLASS_NAMES_FILE).read_text().splitlines()
    assert shown == [name for name in class_names for _ in range(2)]


def test_picture_stem__is_a_plain_file_name() -> None:
    assert demo.picture_stem("T-shirt/top") == "t_shirt_top"
    assert demo.picture_stem("Ankle boot") == "ankle_boot"
