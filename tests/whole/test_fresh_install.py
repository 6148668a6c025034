"""A plain `pip install .` into an empty environment: no constraint, no mmcv, and the same scores as here.

It downloads PyTorch, so it is run by `make check-install` only.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

import helpers

# Prints {picture: result of pipeline()}, for the pictures and the network that come with the package.
THROUGH_PIPELINE = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    import modelscope_beit
    from modelscope.pipelines import pipeline
    from modelscope_beit.model_folder.finding import find_model_folder
    classify = pipeline("image-classification", model=str(find_model_folder("embedded")), device="cpu")
    results = {path: classify(path) for path in sys.argv[1:]}
print(json.dumps(results))
"""
MUST_BE_ABSENT = ("mmcv", "mmcls", "cv2", "timm")


def scores(python: Path, pictures: list[Path], folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Returns {door: {picture: {label: score}}} of the environment of `python`; folder: where nothing of ours lies."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    names = [str(picture) for picture in pictures]

    def answer(*arguments: str) -> str:
        command = [str(python), *arguments]
        return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout

    piped: dict[str, Any] = json.loads(answer("-c", THROUGH_PIPELINE, *names))
    lines = answer("-m", "modelscope_beit", "predict", "embedded", *names, "--json").splitlines()
    predicted = {row["source"]: row for row in map(json.loads, lines)}
    return {
        door: {name: dict(zip(row["labels"], row["scores"], strict=True)) for name, row in rows.items()}
        for door, rows in (("pipeline", piped), ("predict", predicted))
    }


@pytest.mark.fresh_install
def test_plain_install__gives_the_scores_of_the_development_environment(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    subprocess.run(["git", "clone", "--quiet", str(helpers.ROOT), str(sources)], check=True)
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(sources)], check=True)
    listing = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    installed = {row["name"].lower() for row in json.loads(listing.stdout)}
    assert not installed & {"mmcv", "mmcv-full", "mmcls", "timm", "opencv-python"}
    for name in MUST_BE_ABSENT:
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode != 0

    embedded = (
        environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "modelscope_beit" / "embedded"
    )
    pictures = sorted(path for path in embedded.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png"))
    assert len(pictures) >= 3
    fresh = scores(python, pictures, tmp_path)
    here = scores(Path(sys.executable), pictures, tmp_path)
    for door in ("pipeline", "predict"):
        assert fresh[door].keys() == here[door].keys() == {str(picture) for picture in pictures}
        for name, expected in here[door].items():
            assert fresh[door][name] == pytest.approx(expected, abs=1e-6)
            assert here["pipeline"][name] == pytest.approx(expected, abs=1e-6)
