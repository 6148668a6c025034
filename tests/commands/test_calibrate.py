"""`beit calibrate` with real files: what it stores, prints and writes, what it refuses, and that predict applies it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp

import helpers
import mmcls_models
from modelscope_beit.__main__ import WRONG_USAGE, main
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.commands.calibrate import SOME_FAILED
from modelscope_beit.model_folder.opening import open_model

PICTURES = 60
RATE = 0.1


def beit_calibrate(*arguments: object) -> int:
    return main(["calibrate", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report goes below the working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Cut out of real photographs."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    paths = []
    for number in range(PICTURES):
        left, top = int(rng.integers(0, 580)), int(rng.integers(0, 370))
        paths.append(tmp_path / "photos" / f"{number:02d}.png")
        helpers.photographs()[number % 2].crop((left, top, left + 50, top + 50)).save(paths[-1])
    return paths


def logits_of(folder: Path, paths: list[Path]) -> np.ndarray:
    model = open_model(folder)
    with torch.no_grad():
        return model.network(torch.stack([model.transform(Image.open(path)) for path in paths])).double().numpy()


@pytest.fixture
def data(tmp_path: Path, tiny_model_folder: Path, pictures: list[Path]) -> Path:
    """The network's own answers, but for every fifth picture, which has its second one."""
    order = np.argsort(-logits_of(tiny_model_folder, pictures), axis=1)
    labels = order[np.arange(PICTURES), (np.arange(PICTURES) % 5 == 0).astype(int)]
    return write_csv(tmp_path / "photos.csv", pictures, labels)


def write_csv(file: Path, paths: list[Path], labels: np.ndarray) -> Path:
    with open(file, "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label"])
        rows.writerows((str(path), helpers.TINY_CLASSES[label]) for path, label in zip(paths, labels, strict=True))
    return file


def read_labels(file: Path) -> np.ndarray:
    with open(file, newline="", encoding="utf-8") as stream:
        return np.array([helpers.TINY_CLASSES.index(row["label"]) for row in csv.DictReader(stream)])


def test_calibrate__stores_what_scipy_finds(
    tiny_model_folder: Path, data: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert beit_calibrate(tiny_model_folder, data, "--false-alarm-rate", RATE) == 0
    output = capsys.readouterr().out
    logits, labels = logits_of(tiny_model_folder, pictures), read_labels(data)

    def loss(log: float) -> float:
        scaled = logits / np.exp(log)
        return float(np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(PICTURES), labels]))

    expected = np.exp(minimize_scalar(loss, bounds=(-6, 4), method="bounded", options={"xatol": 1e-10}).x)
    stored = json.loads((tiny_model_folder / "configuration.json").read_text(encoding="utf-8"))["confidence"]
    assert stored["temperature"] == pytest.approx(expected, rel=1e-3)
    # floor(0.1 * 61) = 6: the sixth from below.
    assert stored["unknown_below"] == pytest.approx(np.sort(logsumexp(logits, axis=1))[5], abs=1e-4)
    assert stored["weights"] == file_digest(tiny_model_folder / "pytorch_model.pt")
    assert (stored["pictures"], stored["data"], stored["false_alarm_rate"]) == (PICTURES, "photos", RATE)
    assert "80.00% (" in output and "before" in output and "stored in" in output
    report = Path("calibration/tiny_model_on_photos/calibration.html")
    assert report.is_file() and str(report) in output
    written = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert written["temperature"] == stored["temperature"] and written["detection"] is None


def test_calibrate__predict_and_evaluate_apply_it(
    tiny_model_folder: Path, data: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert beit_calibrate(tiny_model_folder, data, "--false-alarm-rate", RATE, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    logits = logits_of(tiny_model_folder, pictures)
    assert main(["predict", str(tiny_model_folder), *map(str, pictures), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    below = logsumexp(logits, axis=1) < told["unknown_below"] - 1e-5
    assert sum(row["unknown"] for row in rows) == 5 == told["false_alarms"]["value"] * PICTURES
    assert all(row["unknown"] for row, is_below in zip(rows, below, strict=True) if is_below)
    scaled = logits / told["temperature"]
    best = np.exp(scaled.max(1) - logsumexp(scaled, axis=1))
    np.testing.assert_allclose([row["scores"][0] for row in rows], best, atol=1e-4)
    assert main(["evaluate", str(tiny_model_folder), str(data), "--json"]) == 0
    report = Path(json.loads(capsys.readouterr().out)["report"]).with_suffix(".json")
    error = json.loads(report.read_text(encoding="utf-8"))["calibration"]["expected_calibration_error"]
    assert error == pytest.approx(told["after"]["expected_calibration_error"], abs=1e-3)


def test_calibrate__a_copy_and_unknown_pictures(
    tiny_model_folder: Path, data: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tiny_model_folder / "configuration.json").read_bytes()
    (tmp_path / "other").mkdir()
    noise = np.random.default_rng(1)
    for number in range(7):
        Image.fromarray(noise.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "other" / f"{number}.png")
    (tmp_path / "other" / "broken.png").write_bytes(b"nothing")
    arguments = ("--false-alarm-rate", RATE, "--unknown-data", tmp_path / "other", "--report", "there", "--json")
    assert beit_calibrate(tiny_model_folder, data, *arguments, "--out", "copy") == SOME_FAILED
    told = json.loads(capsys.readouterr().out)
    assert told["detection"]["pictures"] == 7 and told["unreadable"] == 1
    assert Path("there/calibration.html").is_file()
    assert (tiny_model_folder / "configuration.json").read_bytes() == before
    confidence = open_model(Path("copy")).confidence
    assert confidence is not None and confidence.temperature == told["temperature"]
    # Pictures of other things change nothing that is stored.
    assert beit_calibrate(tiny_model_folder, data, "--false-alarm-rate", RATE) == 0
    assert open_model(tiny_model_folder).confidence == confidence


def test_calibrate__the_folder_of_a_run_and_pictures_it_was_trained_on(
    tiny_model_folder: Path, data: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_model_folder, run / "output")
    lines = [{"path": str(path), "label": "cat", "split": "train"} for path in pictures[:8]]
    (run / "split.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert beit_calibrate(run, data, "--false-alarm-rate", RATE) == 0
    assert "8 of the 60 pictures are among those that the network was trained on" in capsys.readouterr().out
    assert open_model(run / "output").confidence is not None


def wrong_labels(folder: Path, data: Path, tmp_path: Path) -> list[object]:
    with open(data, newline="", encoding="utf-8") as stream:
        paths = [Path(row["path"]) for row in csv.DictReader(stream)]
    wrong = np.argsort(logits_of(folder, paths), axis=1)[:, 0]
    return [folder, write_csv(tmp_path / "wrong.csv", paths, wrong), "--false-alarm-rate", RATE]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (lambda folder, data, tmp_path: [folder, data], "needs at least 99 pictures"),
        (lambda folder, data, tmp_path: [folder, data, "--false-alarm-rate", "2"], "between 0 and 1"),
        (lambda folder, data, tmp_path: [folder, data, "--batch-size", "0"], "--batch-size must be at least 1"),
        (lambda folder, data, tmp_path: ["embedded", data], "embedded is no folder of yours"),
        (lambda folder, data, tmp_path: [folder, data, "--out", folder], "exists and is not empty"),
        (lambda folder, data, tmp_path: [folder, data, "--unknown-data", "nowhere"], "nowhere does not exist"),
        (wrong_labels, "no better than chance"),
    ],
)
def test_calibrate__refuses_and_stores_nothing(
    tiny_model_folder: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: Callable[..., list[object]],
    told: str,
) -> None:
    before = (tiny_model_folder / "configuration.json").read_bytes()
    given = arguments(tiny_model_folder, data, tmp_path)
    if told.startswith("nowhere"):
        given += ["--false-alarm-rate", RATE]
    assert beit_calibrate(*given) == WRONG_USAGE
    assert told in capsys.readouterr().err
    assert (tiny_model_folder / "configuration.json").read_bytes() == before


def test_calibrate__tables_and_drawn_pictures_tell_the_unknown(
    tiny_model_folder: Path, data: Path, pictures: list[Path], tmp_path: Path
) -> None:
    assert beit_calibrate(tiny_model_folder, data, "--false-alarm-rate", RATE) == 0
    table, drawn = tmp_path / "preds.csv", tmp_path / "drawn"
    assert (
        main(["predict", str(tiny_model_folder), *map(str, pictures), "--out", str(table), "--draw", str(drawn)]) == 0
    )
    with open(table, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["unknown"] for row in rows].count("true") == 5
    assert list(rows[0])[-2:] == ["unknown", "error"]
    assert len(list(drawn.iterdir())) == PICTURES


def test_calibrate__an_exported_network_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "certificate.json").write_text("{}")
    assert beit_calibrate(tmp_path / "export", data) == WRONG_USAGE
    assert "calibrate its model folder, then export that again" in capsys.readouterr().err


def test_calibrate__several_classes_a_picture_need_a_network_for_that(
    tiny_model_folder: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"path": str(path), "label": ["cat", "dog"]} for path in pictures]
    (tmp_path / "several.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert beit_calibrate(tiny_model_folder, tmp_path / "several.jsonl", "--false-alarm-rate", RATE) == WRONG_USAGE
    assert "has several classes a picture, but the network" in capsys.readouterr().err


def test_calibrate__a_network_with_several_classes_a_picture(
    pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "several"
    mmcls_models.write_folder(folder, mmcls_models.NETWORKS["MultiLabelLinearClsHead"])
    logits = logits_of(folder, pictures)
    labels = np.random.default_rng(3).random(logits.shape) < expit(2 * logits)
    lines = [
        {"path": str(path), "label": [mmcls_models.CLASSES[k] for k in np.flatnonzero(row)]}
        for path, row in zip(pictures, labels, strict=True)
    ]
    (tmp_path / "several.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert beit_calibrate(folder, tmp_path / "several.jsonl", "--false-alarm-rate", 0.2, "--json") == 0
    told = json.loads(capsys.readouterr().out)

    def loss(log: float) -> float:
        return float(np.logaddexp(0, np.where(labels, -logits, logits) / np.exp(log)).sum())

    expected = np.exp(minimize_scalar(loss, bounds=(-6, 3), method="bounded", options={"xatol": 1e-10}).x)
    assert told["temperature"] == pytest.approx(expected, rel=1e-3)
    # Pictures of no class have no part in the threshold.
    known = np.sort(np.logaddexp(0, logits).sum(axis=1)[labels.any(axis=1)])
    assert len(known) < PICTURES
    assert told["unknown_below"] == pytest.approx(known[int(0.2 * (len(known) + 1)) - 1], abs=1e-4)
    assert main(["predict", str(folder), *map(str, pictures), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    scores = expit(np.sort(logits, axis=1)[:, ::-1] / told["temperature"])
    np.testing.assert_allclose([row["scores"] for row in rows], scores, atol=1e-4)
    familiar = np.logaddexp(0, logits).sum(axis=1) - told["unknown_below"]
    assert all(row["unknown"] == (one < 0) for row, one in zip(rows, familiar, strict=True) if abs(one) > 1e-4)
    assert 0 < sum(row["unknown"] for row in rows) < PICTURES
