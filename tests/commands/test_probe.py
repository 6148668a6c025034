"""`beit probe` with real files: what it prints and writes, what it keeps, exit statuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import class_folders
import helpers
from modelscope_beit.__main__ import WRONG_USAGE, main


def beit_probe(*arguments: object) -> int:
    return main(["probe", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of three classes in train/ and val/."""
    return class_folders.write_parts(tmp_path / "photos", num_train=24, num_validation=9)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_probe__prints_a_table_and_writes_three_files(
    tiny_model_folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert beit_probe(tiny_model_folder, photos) == 0
    printed = capsys.readouterr().out
    folder = Path("probe/tiny_model_on_photos")
    assert "features of tiny_model on photos" in printed and str(folder) in printed
    assert "5 pictures a class" in printed and "10 pictures a class" not in printed
    assert sorted(path.name for path in folder.iterdir()) == ["curves.png", "features.parquet", "probe.json"]
    with Image.open(folder / "curves.png") as picture:
        assert picture.size == (1200, 450)
    written = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    assert (written["num_train"], written["num_validation"], written["num_classes"]) == (24, 9, 3)
    assert written["neighbours"].keys() == {"1", "5", "10", "20"}
    # A third of the pictures is dark, which any feature shows.
    assert written["linear"]["value"] > 0.6 and written["facts"]["feature"] == "pooled"
    assert f"{written['linear']['value']:.2%}  95% between" in printed


def test_probe__computes_features_once(
    tiny_model_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (tiny_model_folder, photos, "--out", tmp_path / "out", "--json", "--feature", "mean")
    assert beit_probe(*arguments) == 0
    first = capsys.readouterr().out
    state = (tmp_path / "out" / "features.parquet").stat()
    assert beit_probe(*arguments) == 0
    assert capsys.readouterr().out == first == (tmp_path / "out" / "probe.json").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "features.parquet").stat().st_mtime_ns == state.st_mtime_ns


def test_probe__divides_data_of_one_part_and_leaves_out_what_cannot_be_read(
    tiny_model_folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = next((photos / "train" / "china").iterdir())
    broken.write_bytes(b"no picture")
    assert beit_probe(tiny_model_folder, photos / "train", "--json", "--seed", 3) == 3
    printed, told = capsys.readouterr()
    result = json.loads(printed)
    assert "drawn by the seed 3" in told
    assert result["num_train"] + result["num_validation"] == 23
    assert [one["picture"] for one in result["unreadable"]] == [str(broken)]


def test_probe__needs_both_parts_and_one_label(
    tiny_model_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "only").mkdir()
    shutil.move(photos / "val", tmp_path / "only" / "val")
    assert beit_probe(tiny_model_folder, tmp_path / "only") == WRONG_USAGE
    assert "a training part is needed too" in capsys.readouterr().err
    lines = [{"path": str(path), "label": ["china", "dark"]} for path in sorted(photos.glob("*/*/*.png"))]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert beit_probe(tiny_model_folder, tmp_path / "many.jsonl") == WRONG_USAGE
    assert "one label a picture is needed, but it has several" in capsys.readouterr().err
    assert not Path("probe").exists()


def test_probe__help_does_not_wait_for_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modelscope_beit", "probe", "--help"],
        capture_output=True,
        text=True,
        cwd=helpers.ROOT,
    )
    assert done.returncode == 0 and "pets/ --device cuda" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "numpy", "rich", "pyarrow", "modelscope"} & imported
