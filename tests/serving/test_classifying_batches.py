"""Rows of a batch against `pipeline` and predict's own stream; broken, huge and mixed pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
from PIL import Image

import helpers
from modelscope_beit import __version__
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.prediction.run_record import model_digest
from modelscope_beit.prediction.stream import predict_stream
from modelscope_beit.serving.classifying_batches import BatchClassifier


def classifier(folder: Path, **options: object) -> BatchClassifier:
    return BatchClassifier(open_model(folder), max_pixels=1_000_000, **options)  # type: ignore[arg-type]


def test_call__answers_as_the_pipeline_does(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    rows = classifier(tiny_model_folder)([path.read_bytes() for path in ten_images], 3)
    classify = pipeline(Tasks.image_classification, model=str(tiny_model_folder))
    for row, path in zip(rows, ten_images, strict=True):
        expected = classify(str(path), topk=3)
        assert row["labels"] == tuple(expected["labels"])
        np.testing.assert_allclose(row["scores"], expected["scores"], atol=1e-6)
        assert set(row) == {"labels", "scores"}


@pytest.mark.parametrize(("unknown_below", "is_unknown"), [(1e9, True), (-1e9, False)])
def test_call__tells_of_a_calibrated_model_what_is_unknown_as_the_pipeline_does(
    tiny_model_folder: Path, ten_images: list[Path], unknown_below: float, is_unknown: bool
) -> None:
    helpers.calibrate_by_hand(tiny_model_folder, temperature=2.5, unknown_below=unknown_below)
    (row, broken) = classifier(tiny_model_folder)([ten_images[0].read_bytes(), b"nothing"], 3)
    expected = pipeline(Tasks.image_classification, model=str(tiny_model_folder))(str(ten_images[0]), topk=3)
    assert row["unknown"] is expected["unknown"] is is_unknown
    assert row["labels"] == tuple(expected["labels"])
    np.testing.assert_allclose(row["scores"], expected["scores"], atol=1e-6)
    assert "unknown" not in broken


def test_call__gives_each_bad_picture_its_reason_and_answers_the_others(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    good = ten_images[0].read_bytes()
    huge = io.BytesIO()
    Image.new("1", (1001, 1000)).save(huge, "PNG")
    rows = classifier(tiny_model_folder)([b"nothing", good, huge.getvalue(), good[:400], b"", good], 2)
    assert rows[2].pop("status") == 413, "too large, as too many bytes are"
    assert [sorted(row) for row in rows] == [
        ["labels", "scores"] if place in (1, 5) else ["error", "labels", "scores"] for place in range(6)
    ]
    assert rows[1] == rows[5]
    assert "no picture" in rows[0]["error"]
    assert "1001x1000 pixels, but at most 1000000" in rows[2]["error"]
    assert "empty" in rows[4]["error"]


def test_call__answers_a_batch_of_bad_pictures(tiny_model_folder: Path) -> None:
    assert ["error" in row for row in classifier(tiny_model_folder)([b"a", b"b"], 1)] == [True, True]


@pytest.mark.parametrize("fast", [False, True])
def test_call__answers_as_predict_does(tiny_model_folder: Path, ten_images: list[Path], fast: bool) -> None:
    contents = [path.read_bytes() for path in ten_images]
    rows = classifier(tiny_model_folder, fast_decode=fast)(contents, 5)
    expected = list(predict_stream(open_model(tiny_model_folder), contents, topk=5, fast_decode=fast))
    for row, prediction in zip(rows, expected, strict=True):
        assert row["labels"] == prediction.labels
        np.testing.assert_allclose(row["scores"], prediction.scores, atol=1e-6)


def test_about__names_the_model_and_the_version(tiny_model_folder: Path) -> None:
    assert classifier(tiny_model_folder).about == {
        "model": model_digest(tiny_model_folder),
        "version": __version__,
        "classes": 5,
    }


def test_warm_up__passes_alone_and_in_a_batch(tiny_model_folder: Path) -> None:
    made = classifier(tiny_model_folder)
    sizes: list[int] = []
    made._model.network.register_forward_hook(lambda module, images, logits: sizes.append(len(images[0])))
    made.warm_up(4)
    assert sizes == [1, 4]
