"""Tables read back with the csv, json and pyarrow modules."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.prediction.stream import Prediction
from modelscope_beit.prediction.tables import check_table, json_line, row_format, write_parquet

PREDICTIONS = [
    Prediction('a, "quoted".jpg', ("red fox, Vulpes vulpes", "中文"), (0.75, 0.25)),
    Prediction("broken.jpg", error="cannot be read:\nthe file is empty"),
    Prediction("tiny.jpg", ("中文", "red fox, Vulpes vulpes"), (0.9999999, 1.234567e-07)),
]


def write(path: Path, predictions: list[Prediction], topk: int = 2) -> None:
    """Writes what growing_table.py would."""
    layout = row_format(path, topk)
    rows = [layout.row(prediction) for prediction in predictions]
    if path.suffix == ".parquet":
        write_parquet(path, rows, topk)
    else:
        path.write_bytes(layout.head + b"".join(rows))


def test_csv__has_a_row_per_picture_and_a_column_per_place(tmp_path: Path) -> None:
    write(tmp_path / "preds.csv", PREDICTIONS)
    with open(tmp_path / "preds.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["source", "label_1", "score_1", "label_2", "score_2", "error"]
    assert [row["source"] for row in rows] == ['a, "quoted".jpg', "broken.jpg", "tiny.jpg"]
    assert rows[0]["label_1"] == "red fox, Vulpes vulpes" and rows[0]["label_2"] == "中文"
    assert float(rows[0]["score_1"]) == 0.75 and rows[0]["error"] == ""
    assert rows[1]["error"] == "cannot be read:\nthe file is empty"
    assert rows[1]["label_1"] == rows[1]["score_2"] == ""
    assert float(rows[2]["score_2"]) == pytest.approx(1.234567e-07, rel=1e-5)


def test_jsonl__has_a_line_of_lists_per_picture(tmp_path: Path) -> None:
    write(tmp_path / "preds.jsonl", PREDICTIONS)
    lines = (tmp_path / "preds.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[0] == {
        "source": 'a, "quoted".jpg',
        "labels": ["red fox, Vulpes vulpes", "中文"],
        "scores": [0.75, 0.25],
        "error": None,
    }
    assert rows[1] == {"source": "broken.jpg", "labels": [], "scores": [], "error": PREDICTIONS[1].error}
    assert "中文" in lines[0]


def test_json_line__has_no_digits_that_float32_does_not_carry() -> None:
    score = 0.8490000367164612  # numpy.float32(0.849) as a Python number
    assert '"scores": [0.849]' in json_line(Prediction("a.jpg", ("cat",), (score,)))


def test_parquet__has_typed_columns(tmp_path: Path) -> None:
    write(tmp_path / "preds.parquet", PREDICTIONS)
    table = pyarrow.parquet.read_table(tmp_path / "preds.parquet")
    assert table.column_names == ["source", "label_1", "score_1", "label_2", "score_2", "error"]
    assert str(table.schema.field("score_1").type) == "float"
    assert str(table.schema.field("label_1").type) == "string"
    assert table.column("label_2").to_pylist() == ["中文", None, "red fox, Vulpes vulpes"]
    assert table.column("score_1").to_pylist() == [0.75, None, float(np.float32(0.9999999))]
    assert table.column("error").to_pylist() == [None, PREDICTIONS[1].error, None]


def test_parquet__keeps_the_order_over_several_groups(tmp_path: Path) -> None:
    write(tmp_path / "p.parquet", [Prediction(str(number), ("a",), (0.5,)) for number in range(9000)], topk=1)
    file = pyarrow.parquet.ParquetFile(tmp_path / "p.parquet")
    assert file.num_row_groups == 3
    assert file.read().column("source").to_pylist() == [str(number) for number in range(9000)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("preds.xlsx", r"must end in \.csv or \.jsonl or \.parquet"),
        ("preds", "must end in"),
        ("nowhere/preds.csv", "there is no folder"),
        ("folder.csv", "is a folder"),
    ],
)
def test_check_table__says_what_is_wrong_with_a_name(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SettingsError, match=expected):
        check_table(tmp_path / name)


CALIBRATED = [
    Prediction("known.jpg", ("cat", "dog"), (0.75, 0.25), is_unknown=False),
    Prediction("broken.jpg", error="is empty"),
    Prediction("other.jpg", ("dog", "cat"), (0.5, 0.5), is_unknown=True),
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables__of_a_calibrated_model_tell_the_unknown(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"preds{suffix}"
    layout = row_format(path, 2, with_unknown=True)
    rows = [layout.row(prediction) for prediction in CALIBRATED]
    assert [row.endswith(layout.end_without_error) for row in rows] == [True, False, True]
    if suffix == ".parquet":
        write_parquet(path, rows, 2, with_unknown=True)
        table = pyarrow.parquet.read_table(path)
        assert table.column_names[-2:] == ["unknown", "error"]
        assert table["unknown"].to_pylist() == [False, None, True]
    elif suffix == ".csv":
        path.write_bytes(layout.head + b"".join(rows))
        with open(path, encoding="utf-8", newline="") as file:
            read = list(csv.DictReader(file))
        assert list(read[0])[-2:] == ["unknown", "error"]
        assert [row["unknown"] for row in read] == ["false", "", "true"]
    else:
        read = [json.loads(row) for row in rows]
        assert [row.get("unknown") for row in read] == [False, None, True]
        assert list(read[0])[-2:] == ["unknown", "error"] and "unknown" not in read[1]
