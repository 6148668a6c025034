"""What a card tells of an evaluation; the report is written by hand here, with numbers to count on fingers."""

import json
from pathlib import Path

import pytest
from scipy.stats import binomtest

import published_runs
from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.publishing.measured import read_measured
from modelscope_beit.publishing.source import Source, read_source

DIGEST = "sha256:abc"
REPORT = {
    "facts": {"Weights": DIGEST, "Data": "the folder pets"},
    "pictures": 9,
    "unreadable": [{"picture": "x.jpg", "reason": "empty"}],
    "metrics": {"accuracy_top-1": 100 * 7 / 9, "f1_score": 70.0},
    "intervals": {"accuracy_top-1": [0, 1]},
    "class_names": ["cat", "dog", "fox", "ant"],
    "classes": {"support": [4, 3, 2, 0], "recall": [1.0, 2 / 3, 0.5, 0.0]},
    "confusion": [[0, 0, 4], [1, 0, 1], [1, 1, 2], [2, 1, 1], [2, 2, 1]],
    "most_frequent_mistakes": [{"truth": 1, "prediction": 0, "count": 1}, {"truth": 2, "prediction": 1, "count": 1}],
}


def write(folder: Path, **changes) -> Path:
    (folder / "report.json").write_text(json.dumps(REPORT | changes), encoding="utf-8")
    return folder


def test_read_measured__of_a_named_evaluation(tmp_path: Path) -> None:
    found = read_measured(Source(tmp_path), write(tmp_path), digest=DIGEST)
    assert found is not None
    assert (found.pictures, found.unreadable, found.data) == (9, 1, "the folder pets")
    expected = binomtest(7, 9).proportion_ci(0.95, method="wilson")
    assert found.intervals == {"accuracy_top-1": pytest.approx((100 * expected.low, 100 * expected.high))}
    assert found.metrics["f1_score"] == 70.0
    # The ant has no picture, so nothing is known of it.
    assert [(one.name, one.pictures) for one in found.weakest] == [("fox", 2), ("dog", 3)]
    assert found.pairs == (("dog", "cat", 1), ("fox", "dog", 1))
    assert not found.chose_epoch
    assert read_measured(Source(tmp_path), tmp_path / "report.json", digest=DIGEST) == found


def test_read_measured__takes_no_number_of_pictures_for_a_percentage(tmp_path: Path) -> None:
    counted = {**REPORT["metrics"], "support": 9.0, "real_support": 8.0}
    found = read_measured(Source(tmp_path), write(tmp_path, metrics=counted), digest=DIGEST)
    assert found is not None and found.metrics.keys() == {"accuracy_top-1", "f1_score"}


def test_read_measured__refuses_an_evaluation_of_other_weights(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="beit evaluate"):
        read_measured(Source(tmp_path), write(tmp_path), digest="sha256:other")


def test_read_measured__says_what_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"report\.json of `beit evaluate` is expected"):
        read_measured(Source(tmp_path), tmp_path, digest=DIGEST)
    with pytest.raises(ModelFolderError, match="is no report"):
        read_measured(Source(tmp_path), write(tmp_path, class_names=["cat"]), digest=DIGEST)


def test_read_measured__of_a_model_that_nobody_measured(tmp_path: Path) -> None:
    assert read_measured(Source(tmp_path), None, digest=DIGEST) is None


def test_read_measured__of_a_run(finished_run: Path) -> None:
    source = read_source(finished_run)
    found = read_measured(source, None, digest="")
    assert found is not None and found.chose_epoch and found.pictures == 9
    assert found.metrics["accuracy_top-1"] == pytest.approx(source.record["best"]["metrics"]["accuracy_top-1"])
    assert found.cells is not None and sum(pictures for _, _, pictures in found.cells) == 9


def test_read_measured__of_a_run_without_a_report_that_fits(finished_run: Path, tmp_path: Path) -> None:
    """Then the record counts: of another epoch's report nothing is told."""
    source = read_source(finished_run)
    other = Source(source.model, tmp_path, source.record, {}, source.tables)
    published_runs.change_json(write(tmp_path) / "report.json", facts={"Weights": "best_accuracy_top-1_epoch_9.pth"})
    found = read_measured(other, None, digest="")
    assert found is not None and found.cells is None
    assert found.pictures == 9 and set(found.intervals) == {"accuracy_top-1"}
