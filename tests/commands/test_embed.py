"""`beit embed` with real files: the table, the nearest pictures, exit statuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import class_folders
import helpers
from modelscope_beit.__main__ import WRONG_USAGE, main


def beit_embed(*arguments: object) -> int:
    return main(["embed", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of three classes in train/ and val/."""
    return class_folders.write_parts(tmp_path / "photos", num_train=6, num_validation=3)


def test_embed__writes_all_parts_and_finds_in_them(
    tiny_model_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "photos.parquet"
    assert beit_embed(tiny_model_folder, photos, "--out", out, "--batch-size", 4, "--workers", 1) == 0
    printed = capsys.readouterr().out
    assert "pooled, 32 numbers a picture" in printed and "images/s" in printed
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["split"] for row in rows] == ["train"] * 6 + ["validation"] * 3
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows)
    assert all(len(row["feature"]) == 32 and row["error"] is None for row in rows)
    # The query is the fifth picture, so the nearest one is itself; the table is enough.
    wanted = rows[4]["path"]
    copy = tmp_path / "query.png"
    shutil.copy(wanted, copy)
    shutil.rmtree(photos)
    assert beit_embed(tiny_model_folder, out, "--nearest", copy, "--count", 3, "--json") == 0
    nearest = json.loads(capsys.readouterr().out)["nearest"]
    features = np.array([row["feature"] for row in rows])
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = directions @ directions[4]
    best = np.argsort(-cosines)[:3]
    assert [found["path"] for found in nearest] == [rows[row]["path"] for row in best]
    assert nearest[0]["path"] == wanted and nearest[0]["label"] == rows[4]["label"]
    assert [found["cosine"] for found in nearest] == pytest.approx(cosines[best].tolist(), abs=1e-5)


def test_embed__of_a_flat_folder_has_no_labels_and_a_broken_picture_costs_its_row(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ten_images[2].write_bytes(b"no picture")
    out = tmp_path / "flat.parquet"
    arguments = ("--out", out, "--feature", "1", "--nearest", ten_images[0])
    assert beit_embed(tiny_model_folder, ten_images[0].parent, *arguments) == 3
    printed, told = capsys.readouterr()
    assert "1 more; the column error says why" in printed and f"1.0000  {ten_images[0]}" in printed
    assert str(ten_images[2]) in told
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["label"] for row in rows] == [None] * 10
    broken = [row for row in rows if row["error"] is not None]
    assert [row["path"] for row in broken] == [str(ten_images[2])] and broken[0]["feature"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --out FILE.parquet or --nearest PICTURE"),
        (("--out", "x.csv"), "--out must be a file that ends in .parquet"),
        (("--out", "nowhere/x.parquet"), "in a folder that exists"),
        (("--nearest", "x.jpg", "--count", "0"), "--count must be at least 1"),
        (("--out", "x.parquet", "--feature", "2"), "a block's number, 0 to 1"),
        (("--nearest", "missing.jpg"), "missing.jpg"),
    ],
)
def test_embed__says_what_is_wrong(
    tiny_model_folder: Path,
    ten_images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert beit_embed(tiny_model_folder, ten_images[0].parent, *options) == WRONG_USAGE
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.parquet"))


def test_embed__does_not_compare_with_features_of_another_kind(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mean.parquet"
    assert beit_embed(tiny_model_folder, ten_images[0].parent, "--out", out, "--feature", "mean") == 0
    assert beit_embed("embedded", out, "--nearest", ten_images[0]) == WRONG_USAGE
    assert "weights, preprocessing differ" in capsys.readouterr().err
    assert beit_embed(tiny_model_folder, out, "--nearest", ten_images[0], "--feature", "pooled") == WRONG_USAGE
    assert "feature differ" in capsys.readouterr().err
    assert beit_embed(tiny_model_folder, out, "--out", tmp_path / "again.parquet") == WRONG_USAGE
    assert "has features already; give --nearest" in capsys.readouterr().err


def test_embed__help_does_not_wait_for_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modelscope_beit", "embed", "--help"],
        capture_output=True,
        text=True,
        cwd=helpers.ROOT,
    )
    assert done.returncode == 0 and "--nearest cat.jpg" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "numpy", "rich", "pyarrow", "modelscope"} & imported
