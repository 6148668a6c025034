"""The two files of a report, read back; how large they get, how long they take."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from PIL import Image

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report import write_report

NAMES = ("cat", "dog", "red fox, Vulpes vulpes", "中文", "n02119789", "<b>", "owl")


def records_of(paths: list[str], labels: np.ndarray, class_names: tuple[str, ...] = NAMES) -> Records:
    return Records(FilePictures(paths), labels.astype(np.int64), class_names, description="made up")


@pytest.fixture
def forty(make_outcomes: Callable[..., Outcomes], ten_images: list[Path]) -> tuple[Outcomes, Records]:
    outcomes = make_outcomes(40, NAMES, strength=1.0)
    return outcomes, records_of([str(path) for path in ten_images * 4], outcomes.labels)


def test_write_report__tells_programs_the_same_numbers(forty: tuple[Outcomes, Records], tmp_path: Path) -> None:
    outcomes, records = forty
    page = write_report(
        tmp_path / "new" / "folder",
        outcomes,
        records,
        title="forty",
        facts={"model": "m"},
        metrics={"accuracy_top-1": -1.0, "accuracy_real_top-1": 12.5},
        unreadable=[("gone.jpg", "is gone")],
    )
    best = outcomes.top_classes[:, 0]
    written = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    accuracy = 100 * sklearn.metrics.accuracy_score(outcomes.labels, best)
    assert page == tmp_path / "new" / "folder" / "report.html"
    assert written["metrics"]["accuracy_top-1"] == pytest.approx(accuracy)
    assert written["metrics"]["accuracy_real_top-1"] == 12.5
    low, high = written["intervals"]["accuracy_top-1"]
    assert low < accuracy < high
    assert written["facts"]["model"] == "m" and "torch" in written["facts"]["Versions"]
    assert written["unreadable"] == [{"picture": "gone.jpg", "reason": "is gone"}]
    matrix = np.zeros((7, 7), int)
    for truth, prediction, pictures in written["confusion"]:
        matrix[truth, prediction] = pictures
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(outcomes.labels, best))
    recall = sklearn.metrics.recall_score(outcomes.labels, best, average=None, zero_division=0)
    assert written["classes"]["recall"] == pytest.approx(recall)
    assert sum(written["calibration"]["counts"]) == written["pictures"] == 40
    surest = written["most_confident_mistakes"][0]
    row = int(np.argmax(np.where(best != outcomes.labels, outcomes.top_scores[:, 0], 0)))
    assert surest["source"] == records[row].name
    assert (surest["truth"], surest["prediction"]) == (NAMES[outcomes.labels[row]], NAMES[best[row]])


def test_write_report__takes_pictures_by_their_place_in_the_data(
    make_outcomes: Callable[..., Outcomes], tmp_path: Path
) -> None:
    """Pictures that could not be read leave gaps: the row of an outcome is not the row of the data."""
    paths = [str(tmp_path / f"{number}.png") for number in range(20)]
    for number in (4, 9):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(paths[number])
    made_up = make_outcomes(2, NAMES[:2])
    wrong = 1 - made_up.top_classes[:, 0].astype(np.int64)
    outcomes = Outcomes(np.array([4, 9]), wrong, *list(vars(made_up).values())[2:7])
    page = write_report(tmp_path, outcomes, records_of(paths, np.zeros(20)), title="gaps", facts={})
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {mistake["source"] for mistake in written["most_confident_mistakes"]} == {paths[4], paths[9]}
    assert page.read_text(encoding="utf-8").count("data:image/png;base64,") == 2


def test_write_report__survives_pictures_that_are_gone_and_names_that_are_no_utf8(
    make_outcomes: Callable[..., Outcomes], tmp_path: Path
) -> None:
    outcomes = make_outcomes(30, NAMES, strength=0.0)
    records = records_of([f"gone/\udcff{number}.jpg" for number in range(30)], outcomes.labels)
    page = write_report(tmp_path, outcomes, records, title="\udcff", facts={"data": "gone/\udcff"})
    assert "the picture can no longer be read" in page.read_text(encoding="utf-8")
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["most_confident_mistakes"][0]["source"].startswith("gone/\udcff")


def test_write_report__replaces_an_older_one_and_leaves_nothing_else(
    forty: tuple[Outcomes, Records], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("old")
    page = write_report(tmp_path / "out", *forty, title="forty", facts={})
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]


def test_write_report__of_several_labels(multi_label_outcomes: Outcomes, tmp_path: Path) -> None:
    records = Records(FilePictures(["a", "b", "c", "d"]), multi_label_outcomes.labels == 1, ("sky", "sea", "sand"),
                      description="made up")  # fmt: skip
    write_report(tmp_path, multi_label_outcomes, records, title="beach", facts={}, metrics={"mAP": 75.0})
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["metrics"] == {"mAP": 75.0, "best_class_is_a_label": 50.0}
    assert written["confusion"] is None
    assert [mistake["truth"] for mistake in written["most_confident_mistakes"]] == ["sand", "none"]


def imagenet_sized() -> Outcomes:
    """50,000 pictures of 1,000 classes, one in three wrong, in all directions: as many cells as possible."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 50)
    top = rng.integers(0, 1000, (50_000, 5)).astype(np.int32)
    top[:, 0] = np.where(rng.random(50_000) < 2 / 3, labels, top[:, 0])
    scores = -np.sort(-rng.random((50_000, 5)).astype(np.float32), axis=1)
    names = tuple(f"class {number}, with a name as long as those of ImageNet" for number in range(1000))
    ranks = np.where(top[:, 0] == labels, 0, 9).astype(np.int32)
    return Outcomes(np.arange(50_000), labels, top, scores, scores[:, 0], ranks, names)


def test_write_report__of_imagenets_size_is_small_and_quick(ten_images: list[Path], tmp_path: Path) -> None:
    outcomes = imagenet_sized()
    records = records_of([str(path) for path in ten_images] * 5000, outcomes.labels, outcomes.class_names)
    start = time.perf_counter()
    page = write_report(tmp_path, outcomes, records, title="ImageNet", facts={})
    assert time.perf_counter() - start < 20
    assert page.stat().st_size < 3_000_000
    assert page.with_suffix(".json").stat().st_size < 3_000_000
