"""Predictions on a real Ray of this machine, whose workers are killed, against those of this process."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import helpers
from modelscope_beit.__main__ import main
from modelscope_beit.errors import MissingPackageError
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.prediction import ray_engine


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")
def test_predict_on_ray__with_two_workers_killed_gives_every_row_once(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    folder = tmp_path / "many"
    folder.mkdir()
    ten_images[3].write_bytes(b"no picture")
    for number in range(600):
        os.link(ten_images[number % 10], folder / f"{number:03}.jpg")
    arguments = ["predict", str(tiny_model_folder), str(folder), "--batch-size", "4", "--topk", "2"]
    assert main([*arguments, "--out", str(tmp_path / "local.csv")]) == 3
    out = tmp_path / "ray.csv"
    done = subprocess.run(
        [sys.executable, str(helpers.ROOT / "tests" / "killed_ray_workers.py"), str(out)]
        + [*arguments, "--out", str(out), "--engine", "ray"],
        env=os.environ | {"PYTHONPATH": str(helpers.ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "status 3, 2 killed" in done.stdout.splitlines()
    assert out.read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_predict_on_ray__names_the_extra_that_is_missing(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"modelscope-beit\[ray\]"):
        next(ray_engine.predict_on_ray(partial(open_model, tiny_model_folder), ["a.jpg"]))


def test_worker__classifies_a_block_and_keeps_its_numbers(
    tiny_model_folder: Path, ten_images: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    strange = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    names = [ten_images[0].name, strange, *(path.name for path in ten_images[1:])]
    (first, second, third) = ray_engine._blocks(names, 5)
    assert third["place"].to_pylist() == [10]
    # Names are relative to where the command was given, not to where Ray starts its workers.
    worker = ray_engine._Worker(partial(open_model, tiny_model_folder), str(ten_images[0].parent), {"topk": 1})
    rows = list(ray_engine._in_order(map(worker, (first, second, third))))
    assert [row.error is None for row in rows] == [True, False, *[True] * 9]
    assert [row.source for row in rows] == [names[0], r"caf\xe9.jpg".replace("xe9", "udce9"), *names[2:]]
    with pytest.raises(AssertionError, match="Ray gave row 5 in place of 0"):
        list(ray_engine._in_order(map(worker, (second, first))))
