"""Golden answers: what is written, what a difference is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.errors import ImageError
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.publishing.answers import Answer, largest_difference, read_answers, write_answers
from modelscope_beit.settings.confidence import Confidence


def test_write_answers__are_what_the_network_says(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = open_model(tiny_model_folder)
    folder = tmp_path / "staged"
    answers = write_answers(model, folder, None)
    assert read_answers(folder) == answers and len(answers) == 5
    assert (folder / "resources" / "pictures" / "LICENSE").read_text(encoding="utf-8").count("MIT License")
    fresh = open_model(tiny_model_folder)
    for answer in answers:
        picture = Image.open(folder / answer.picture).convert("RGB")
        with torch.inference_mode():
            logits = fresh.network(fresh.transform(picture)[None])
        best, place = logits.double().softmax(dim=1)[0].sort(descending=True)
        assert answer.labels == tuple(fresh.class_names[number] for number in place)
        assert answer.scores == pytest.approx(best.tolist(), abs=1e-6)


def test_write_answers__takes_the_pixels_of_an_example_and_nothing_else(
    tiny_model_folder: Path, tmp_path: Path, photographs: tuple[Image.Image, ...]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Lies on its side.
    exif[0x010E] = "at home"
    photographs[0].resize((2000, 1000)).save(tmp_path / "private name.jpg", exif=exif)
    answers = write_answers(open_model(tiny_model_folder), tmp_path / "staged", tmp_path / "private name.jpg")
    assert answers[0].picture == "resources/pictures/example.png"
    written = Image.open(tmp_path / "staged" / answers[0].picture)
    assert written.size == (512, 1024) and not written.info and not written.getexif()
    with pytest.raises(ImageError, match="nowhere.png"):
        write_answers(open_model(tiny_model_folder), tmp_path / "other", tmp_path / "nowhere.png")


def test_write_answers__with_and_without_temperature(tiny_model_folder: Path, tmp_path: Path) -> None:
    weights = tiny_model_folder / "pytorch_model.pt"
    digest = "sha256:" + __import__("hashlib").sha256(weights.read_bytes()).hexdigest()
    configuration = json.loads((tiny_model_folder / "configuration.json").read_text())
    found = Confidence(4.0, 0.3, 0.05, 100, "some", digest)
    configuration["confidence"] = vars(found)
    (tiny_model_folder / "configuration.json").write_text(json.dumps(configuration))
    warm = write_answers(open_model(tiny_model_folder), tmp_path / "warm", None)
    plain = write_answers(open_model(tiny_model_folder), tmp_path / "plain", None, calibrated=False)
    # Logits differ by a constant only: dividing them by 4 divides the distances of their logarithms by 4.
    distances = [np.ptp(np.log(answers[0].scores)) for answers in (warm, plain)]
    assert distances[1] == pytest.approx(4 * distances[0], rel=1e-3)


def test_largest_difference__lets_only_equals_change_places() -> None:
    expected = [Answer("a", ("x", "y"), (0.6, 0.4)), Answer("b", ("x", "y", "z"), (0.5, 0.25, 0.25))]
    assert largest_difference(expected, expected) == (0.0, "")
    swapped = [expected[0], Answer("b", ("x", "z", "y"), (0.5, 0.25, 0.25))]
    assert largest_difference(expected, swapped) == (0.0, "")
    other_class = [Answer("a", ("y", "x"), (0.6, 0.4)), expected[1]]
    assert largest_difference(expected, other_class) == (pytest.approx(0.2), "a")
    unnamed = [expected[0], Answer("b", ("x", "y", "w"), (0.5, 0.25, 0.25))]
    assert largest_difference(expected, unnamed) == (0.25, "b")
