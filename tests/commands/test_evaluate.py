"""`beit evaluate` with real files: what it prints, what it writes, exit statuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from modelscope_beit.__main__ import WRONG_USAGE, main
from modelscope_beit.commands.evaluate import SOME_FAILED
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.prediction.stream import predict_stream


def beit_evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture
def class_folders(tmp_path: Path, ten_images: list[Path]) -> Path:
    """Ten pictures in folders named after three of the model's five classes."""
    for number, path in enumerate(ten_images):
        folder = tmp_path / "pets" / ("cat", "dog", "中文")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return tmp_path / "pets"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report goes below the working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def accuracy(model: Path, data: Path) -> float:
    """What `predict` gets right, in percent."""
    paths = sorted(data.glob("**/*.jpg"))
    found = predict_stream(open_model(model), [str(path) for path in paths], topk=1)
    return 100 * sum(one.labels[0] == path.parent.name for one, path in zip(found, paths, strict=True)) / len(paths)


def test_evaluate__prints_a_table_and_writes_a_report(
    tiny_model_folder: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert beit_evaluate(tiny_model_folder, class_folders) == 0
    output = capsys.readouterr().out
    report = Path("evaluation/tiny_model_on_pets/report.html")
    assert "tiny_model on pets" in output and str(report) in output
    assert f"{accuracy(tiny_model_folder, class_folders):.3f}%  95% between" in output
    written = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert report.is_file() and written["pictures"] == 10
    assert written["metrics"]["accuracy_top-1"] == pytest.approx(accuracy(tiny_model_folder, class_folders))
    assert written["facts"]["Weights"].startswith("sha256:") and str(class_folders) in written["facts"]["Data"]


def test_evaluate__as_json_with_metrics(
    tiny_model_folder: Path, class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--json",
        "--out",
        tmp_path / "out",
        "--metrics",
        "accuracy",
        "recall",
        "--batch-size",
        3,
        "--workers",
        1,
    ]
    assert beit_evaluate(tiny_model_folder, class_folders, *options) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["metrics"]) == ["accuracy_top-1", "accuracy_top-5", "recall"]
    assert (result["pictures"], result["unreadable"], result["reference"]) == (10, [], None)
    assert result["report"] == str(tmp_path / "out" / "report.html")


def test_evaluate__counts_what_cannot_be_read_and_returns_3(
    tiny_model_folder: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = class_folders / "cat" / "broken.jpg"
    broken.write_bytes(b"no picture")
    assert beit_evaluate(tiny_model_folder, class_folders) == 3
    assert "not readable" in capsys.readouterr().out
    page = Path("evaluation/tiny_model_on_pets/report.html").read_text(encoding="utf-8")
    assert "broken.jpg" in page and "Pictures that could not be read: 1." in page


@pytest.mark.parametrize(("options", "pictures"), [((), 3), (("--split", "train"), 7)])
def test_evaluate__measures_the_validation_part_unless_told(
    tiny_model_folder: Path,
    class_folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    pictures: int,
) -> None:
    for number, path in enumerate(sorted(class_folders.glob("*/*.jpg"))):
        folder = tmp_path / "split" / ("val" if number % 4 == 0 else "train") / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    assert beit_evaluate(tiny_model_folder, tmp_path / "split", "--json", *options) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == pictures


def test_evaluate__opens_what_a_run_has_written(
    tiny_model_folder: Path, class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_model_folder, run / "output")
    (run / "configuration.json").write_text("{}")
    assert beit_evaluate(run, class_folders) == 0
    assert "run on pets" in capsys.readouterr().out


def test_evaluate__of_a_run_that_divided_its_data_says_how_to_measure_unseen_pictures(
    tiny_model_folder: Path, class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_model_folder, run / "output")
    paths = sorted(class_folders.glob("*/*.jpg"))
    parts = ["validation" if number < 2 else "train" for number in range(len(paths))]
    lines = [
        json.dumps({"path": str(path), "label": path.parent.name, "split": part})
        for path, part in zip(paths, parts, strict=True)
    ]
    (run / "split.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert beit_evaluate(run, class_folders, "--json") == 0
    output, told = capsys.readouterr()
    assert json.loads(output)["pictures"] == 10
    assert f"beit evaluate {run} {run / 'split.jsonl'}" in told
    assert beit_evaluate(run, run / "split.jsonl", "--json") == 0
    output, told = capsys.readouterr()
    assert (json.loads(output)["pictures"], told) == (2, "")


def test_evaluate__takes_a_list_of_labelled_paths(
    tiny_model_folder: Path, class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{path},{path.parent.name}" for path in sorted(class_folders.glob("*/*.jpg"))]
    (tmp_path / "pets.csv").write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    assert beit_evaluate(tiny_model_folder, tmp_path / "pets.csv", "--json", "--only-data-classes") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["report"] == str(Path("evaluation/tiny_model_on_pets/report.html"))
    assert list(result["metrics"]) == ["accuracy_top-1"]  # Of three classes a top 5 says nothing.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("dog", "zebra"), "'zebra'"),
        (("--split", "validation"), "no part validation (train is there)"),
        (("--batch-size", "0"), "batch_size must be at least 1"),
        (("--metrics", "mAP"), "cannot be measured by mAP"),
        (("--device", "cuda:99"), "'cuda:99'"),
    ],
)
def test_evaluate__says_what_is_wrong_before_it_works(
    tiny_model_folder: Path,
    class_folders: Path,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    message: str,
) -> None:
    options = change if change[0].startswith("--") else ()
    if not options:
        (class_folders / change[0]).rename(class_folders / change[1])
    assert beit_evaluate(tiny_model_folder, class_folders, *options) == WRONG_USAGE
    assert message in capsys.readouterr().err
    assert not Path("evaluation").exists()


def test_evaluate__cannot_write_where_a_file_is(
    tiny_model_folder: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("a file")
    assert beit_evaluate(tiny_model_folder, class_folders, "--out", "taken") == WRONG_USAGE
    assert "The report's folder taken cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["nowhere/", "nowhere.csv"])
def test_evaluate__says_where_it_looked_for_data(
    tiny_model_folder: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert beit_evaluate(tiny_model_folder, data) == WRONG_USAGE
    assert "nowhere" in capsys.readouterr().err


def test_evaluate__help_does_not_wait_for_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modelscope_beit", "evaluate", "--help"],
        capture_output=True,
        text=True,
        cwd=helpers.ROOT,
    )
    assert done.returncode == 0 and "Examples:" in done.stdout and "imagenet-a/ --only-data-classes" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "modelscope_beit.settings.evaluation" in imported
    assert not {"torch", "numpy", "rich", "modelscope"} & imported


def test_evaluate__says_what_fast_decoding_costs(
    tiny_model_folder: Path, class_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (class_folders / "cat" / "broken.jpg").write_bytes(b"")
    assert beit_evaluate(tiny_model_folder, class_folders, "--fast-decode") == SOME_FAILED
    told = capsys.readouterr().err
    assert "Fast decoding: in 10 pictures, values differ by 0.0" in told and "top-1 agreement " in told
    report = Path("evaluation/tiny_model_on_pets/report.json")
    assert json.loads(report.read_text(encoding="utf-8"))["facts"]["Decoding"] == "fast"
