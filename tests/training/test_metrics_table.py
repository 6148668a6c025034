"""metrics.csv, read by Python's csv module, and after a spreadsheet has been at it."""

import csv
import logging

import pytest

from modelscope_beit.errors import CheckpointError
from modelscope_beit.training.metrics_table import read_metrics, write_metrics

ROWS = [
    {"epoch": 1, "iteration": 10, "learning_rate": 1.5e-07, "train_loss": 2.25, "seconds": 3.5},
    {"epoch": 2, "iteration": 20, "accuracy_top-1": 88.356, "precision": [50.0, 100.0], "is_best": True},
    {"epoch": 3, "iteration": 30, "accuracy_top-1": 80, "名": 'Größe, "quoted"\nline', "is_best": False},
]


def test_write_metrics__a_spreadsheet_reads_it(tmp_path):
    path = tmp_path / "metrics.csv"
    write_metrics(path, ROWS)
    with path.open(encoding="utf-8", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert list(first)[:3] == ["epoch", "iteration", "learning_rate"]
    assert list(first)[-3:] == ["accuracy_top-1", "precision", "名"]
    assert float(first["learning_rate"]) == 1.5e-07 and first["accuracy_top-1"] == ""
    assert float(second["accuracy_top-1"]) == 88.356
    assert third["名"] == 'Größe, "quoted"\nline'
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_read_metrics__there_and_back(tmp_path):
    write_metrics(tmp_path / "metrics.csv", ROWS)
    assert read_metrics(tmp_path / "metrics.csv", until=30) == ROWS
    assert read_metrics(tmp_path / "metrics.csv", until=29) == ROWS[:2]


def test_read_metrics__no_file(tmp_path):
    assert read_metrics(tmp_path / "metrics.csv", until=1) == []


def test_read_metrics__what_a_spreadsheet_left(tmp_path, caplog):
    path = tmp_path / "metrics.csv"
    path.write_bytes("\ufeffepoch,iteration,note\r\n1,10,fine\r\n,,\r\n2,x,\r\n3,30,1,2,3\r\n".encode())
    with caplog.at_level(logging.WARNING):
        rows = read_metrics(path, until=99)
    assert rows == [{"epoch": 1, "iteration": 10, "note": "fine"}, {"epoch": 3, "iteration": 30, "note": 1}]
    assert [record.getMessage().split(" has")[0] for record in caplog.records] == [f"{path}, row 3", f"{path}, row 4"]


def test_write_metrics__a_failure_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    write_metrics(path, ROWS[:1])
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match=r"metrics\.csv.*No space left"):
        write_metrics(path, ROWS)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]
