"""The folder that comes with the package: what its card claims, and the same answers through every door."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from modelscope.pipelines import pipeline
from PIL import Image

from modelscope_beit.__main__ import main
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.commands.demo import shipped_pictures
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.model_folder.opening import OpenedModel, open_model

FOLDER = find_model_folder("embedded")
WEIGHTS = FOLDER / "model.safetensors"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
# Where Debian's package dataset-fashion-mnist puts the test set.
DATA = Path("/usr/share/datasets/fashion-mnist")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="dataset-fashion-mnist (Debian) is not installed")


@pytest.fixture(scope="module")
def model() -> OpenedModel:
    return open_model("embedded")


@pytest.fixture(scope="module")
def test_set() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (10000, 28, 28), uint8, and classes (10000,)."""
    pictures = gzip.decompress((DATA / "t10k-images-idx3-ubyte.gz").read_bytes())
    classes = gzip.decompress((DATA / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(classes, np.uint8, offset=8)


def test_weights__are_small_and_those_of_the_card(model: OpenedModel) -> None:
    size = WEIGHTS.stat().st_size
    assert size <= 4_000_000
    assert f"{size:,} bytes" in CARD
    assert file_digest(WEIGHTS) in CARD
    assert f"{sum(weight.numel() for weight in model.network.parameters()):,} parameters" in CARD


def test_folder__holds_no_code() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {"configuration.json", "model.safetensors", "classname.txt", "README.md", "pictures"}


def test_pictures__are_mostly_right_through_pipeline() -> None:
    """A tenth of the claimed accuracy may be lost to chance: there are only twenty."""
    pictures = shipped_pictures(FOLDER)
    results = pipeline("image-classification", model=str(FOLDER))([str(path) for path in pictures], batch_size=8)
    right = [result["labels"][0] == truth for result, truth in zip(results, pictures.values(), strict=True)]
    assert sum(right) >= 0.8 * len(right)


def test_pictures__get_the_same_scores_from_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in shipped_pictures(FOLDER)]
    assert main(["predict", "embedded", *paths, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    classify = pipeline("image-classification", model=str(FOLDER))
    for path, row in zip(paths, rows, strict=True):
        result = classify(path)
        assert row["source"] == path
        assert row["labels"] == result["labels"]
        assert np.allclose(row["scores"], result["scores"], atol=1e-6, rtol=0)


def test_picture__may_have_any_size_and_mode(model: OpenedModel) -> None:
    for size in [(1, 1), (640, 427), (31, 400)]:
        for mode in ("RGB", "L", "CMYK"):
            picture = Image.new(mode, size).convert("RGB")
            assert model.network(model.transform(picture)[None]).shape == (1, 10)


@needs_data
def test_pictures__are_those_of_the_test_set(test_set: tuple[np.ndarray, np.ndarray], model: OpenedModel) -> None:
    pixels, classes = test_set
    for path, truth in shipped_pictures(FOLDER).items():
        index = int(path.stem.rpartition("_")[2])
        assert (np.asarray(Image.open(path)) == pixels[index]).all()
        assert model.class_names[classes[index]] == truth
        assert index in np.flatnonzero(classes == classes[index])[:2]


@needs_data
def test_card__claims_the_accuracy_that_the_weights_have(
    test_set: tuple[np.ndarray, np.ndarray], model: OpenedModel
) -> None:
    pixels, classes = test_set
    tensors = torch.stack([model.transform(Image.fromarray(picture).convert("RGB")) for picture in pixels])
    with torch.inference_mode():
        best = torch.cat([model.network(batch) for batch in tensors.split(500)]).argmax(dim=1).numpy()
    claimed = re.search(r"as they are: ([\d.]+)% .* interval ([\d.]+)% to ([\d.]+)%, 10,000 pictures", CARD)
    assert claimed is not None
    accuracy, low, high = (float(number) for number in claimed.groups())
    # Rounding on another processor may move a picture or two across the border of two classes.
    assert 100 * (best == classes).mean() == pytest.approx(accuracy, abs=0.05)
    # The normal approximation is an oracle for Wilson's interval that is good to a few hundredths here.
    reach = 1.96 * np.sqrt(accuracy * (100 - accuracy) / len(classes))
    assert (low, high) == pytest.approx((accuracy - reach, accuracy + reach), abs=0.05)
    for row, name in enumerate(model.class_names):
        of_class = 100 * (best == classes)[classes == row].mean()
        claimed_share = re.search(rf"\| {re.escape(name)} \| ([\d.]+)% \|", CARD)
        assert claimed_share is not None
        assert of_class == pytest.approx(float(claimed_share[1]), abs=0.3)
