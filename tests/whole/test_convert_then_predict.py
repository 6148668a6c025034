"""From a model that timm saved, through `beit convert`, to ModelScope's pipeline(): timm's own answers."""

import csv
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data
import torch
from modelscope.pipelines import pipeline
from PIL import Image

import helpers
from modelscope_beit.__main__ import main


@pytest.fixture(scope="module")
def timm_model() -> Any:
    """BEiT v2 as timm builds it, small, every weight drawn at random."""
    model = timm.create_model("beitv2_base_patch16_224", embed_dim=64, depth=2, num_heads=2, num_classes=1000)
    helpers.with_random_weights(model)
    with torch.no_grad():
        model.head.weight.mul_(4)  # Decided enough for differences to show.
    return model.eval()


@pytest.fixture(scope="module")
def model_folder(timm_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("convert")
    timm.models.save_for_hf(timm_model, folder / "timm", safe_serialization=True)
    assert main(["convert", str(folder / "timm"), str(folder / "model")]) == 0
    return folder / "model"


def test_convert_then_pipeline__gives_timms_scores(timm_model: Any, model_folder: Path, ten_images: list[Path]) -> None:
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=timm_model))
    classify = pipeline("image-classification", model=str(model_folder), device="cpu")
    names = (model_folder / "classname.txt").read_text(encoding="utf-8").splitlines()
    results = classify([str(path) for path in ten_images], batch_size=4)
    for path, result in zip(ten_images, results, strict=True):
        with torch.inference_mode():
            logits = timm_model(transform(Image.open(path).convert("RGB"))[None])
        scores, rows = logits.softmax(dim=1)[0].topk(5)
        assert result["scores"] == pytest.approx(scores.tolist(), abs=1e-5), path.name
        assert result["labels"] == [names[row] for row in rows], path.name


def test_convert_then_predict__gives_the_pipelines_scores(
    model_folder: Path, ten_images: list[Path], tmp_path: Path
) -> None:
    classify = pipeline("image-classification", model=str(model_folder), device="cpu")
    table = tmp_path / "predictions.csv"
    assert main(["predict", str(model_folder), *map(str, ten_images), "--topk", "1", "--out", str(table)]) == 0
    with table.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    assert len(rows) == len(ten_images)
    results = classify([str(path) for path in ten_images])
    for path, (source, label, score, error), result in zip(ten_images, rows, results, strict=True):
        assert (source, label, error) == (str(path), result["labels"][0], "")
        assert float(score) == pytest.approx(result["scores"][0], rel=1e-5)
