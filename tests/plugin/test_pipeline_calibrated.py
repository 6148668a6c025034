"""The pipeline of a folder that `beit calibrate` has calibrated, beside the same folder without."""

import json
from pathlib import Path

import numpy as np
import torch
from modelscope.pipelines import pipeline

import helpers
from modelscope_beit.model_folder.opening import open_model


def test_call__of_a_calibrated_folder_also_tells_the_unknown(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    plain = pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    before = plain([str(path) for path in ten_images])
    assert all(list(one) == ["scores", "labels"] for one in before)
    with torch.no_grad():
        pixels = torch.cat([plain.preprocess(str(path))["img"] for path in ten_images])
        logits = open_model(tiny_model_folder).network(pixels).double()
    familiarities = logits.exp().sum(1).log()
    threshold = float(familiarities.sort().values[3:5].mean())
    helpers.calibrate_by_hand(tiny_model_folder, 0.5, threshold)
    calibrated = pipeline("image-classification", model=str(tiny_model_folder), device="cpu")
    expected = (logits / 0.5).softmax(1).sort(dim=1, descending=True).values
    for found in (
        calibrated([str(path) for path in ten_images], batch_size=4),
        [calibrated(str(path)) for path in ten_images],
        list(calibrated(str(path) for path in ten_images)),
    ):
        assert [list(one) for one in found] == [["scores", "labels", "unknown"]] * 10
        assert [one["unknown"] for one in found] == (familiarities < threshold).tolist()
        assert [one["labels"] for one in found] == [one["labels"] for one in before]
        np.testing.assert_allclose([one["scores"] for one in found], expected, atol=1e-6)
        json.dumps(found[0])
    (row,) = calibrated.model({"img": pixels[:1]})
    np.testing.assert_allclose(np.sort(row)[::-1], expected[0], atol=1e-6)
