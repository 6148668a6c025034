"""Log lines: mmcv's own hook and mmcls's own reader are the judges of keys, order and text."""

import json
import logging
import math
import os
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from modelscope_beit.training.log_lines import (
    LineFile,
    Point,
    evaluation_text,
    json_line,
    log_line,
    read_points,
    short,
    train_text,
)

TRAIN = {
    "mode": "train",
    "epoch": 2,
    "iter": 50,
    "lr": 5e-05,
    "memory": 123,
    "data_time": 0.0123,
    "loss": 0.6,
    "grad_norm": 1.25,
    "time": 0.2,
}


def mmcv_text(values: dict, seconds_left: float = 0.0) -> str:
    """Returns what mmcv's TextLoggerHook says of a line's values, if the run goes on for so many seconds."""
    mmcv_runner = pytest.importorskip("mmcv.runner", reason="mmcv does not build on this Python")
    hook = mmcv_runner.TextLoggerHook(interval=1)
    said = []
    logger = SimpleNamespace(info=said.append)
    iterations_left = round(seconds_left / values.get("time", 1))
    runner = SimpleNamespace(
        logger=logger, meta=None, data_loader=range(391), iter=0, max_iters=1 + iterations_left, rank=0
    )
    hook.start_iter = 0
    hook._log_info(OrderedDict(values), runner)
    return said[0]


def test_train_text__is_that_of_mmcv_and_the_speed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # mmcv tells the memory of GPUs only.
    expected = mmcv_text(TRAIN, seconds_left=721.0)
    assert "eta: 0:12:01" in expected
    ours = train_text({**TRAIN, "images_per_second": 160.0}, place="Epoch [2][50/391]", seconds_left=721.0)
    assert ours == f"{expected}, images/s: 160.0"


def test_train_text__without_memory_and_with_two_rates():
    values = {name: value for name, value in TRAIN.items() if name != "memory"}
    text = train_text({**values, "images_per_second": 9.96, "max_lr": 1e-3}, place="Iter [5/10]", seconds_left=1.9)
    assert text == (
        "Iter [5/10]\tlr: 5.000e-05, max_lr: 1.000e-03, eta: 0:00:01, time: 0.200, data_time: 0.012, "
        "loss: 0.6000, grad_norm: 1.2500, images/s: 10.0"
    )


def test_evaluation_text__is_that_of_mmcv():
    values = {"mode": "val", "epoch": 2, "iter": 500, "lr": 5e-05, "accuracy_top-1": 88.123456, "accuracy_top-5": 99.0}
    expected = mmcv_text(values)
    assert evaluation_text(values, place="Epoch(val) [2][500]", is_best=False) == expected
    assert evaluation_text(values, place="Epoch(val) [2][500]", is_best=True) == f"{expected} (best so far)"


def test_evaluation_text__of_a_thousand_classes_is_one_line():
    values = {"mode": "val", "epoch": 1, "iter": 5, "precision": [50.0] * 1000}
    assert evaluation_text(values, place="Epoch(val) [1][5]", is_best=False).endswith("precision: 1000 values")


def test_log_line__is_that_of_pythons_formatter():
    record = logging.LogRecord("modelscope", logging.WARNING, "", 0, "Be careful", None, None)
    formatter = logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s")
    expected = formatter.format(record)
    assert log_line("WARNING", "Be careful", record.asctime) == expected


def test_json_line__is_ascii_and_takes_anything():
    line = json_line({"CLASSES": ["中文", "ä"], "path": Path("a"), "loss": 0.5})
    assert line.isascii()
    assert json.loads(line) == {"CLASSES": ["中文", "ä"], "path": "a", "loss": 0.5}


@pytest.mark.parametrize(("value", "expected"), [(1.2345678e-7, 1.23457e-7), (88.356001, 88.356), (0.0, 0.0)])
def test_short(value, expected):
    assert short(value) == expected


def test_short__leaves_what_is_no_number():
    assert math.isnan(short(math.nan)) and short(math.inf) == math.inf


def test_line_file__every_line_is_there_at_once(tmp_path):
    file = LineFile(tmp_path / "a.log")
    file.append("first ä中")
    file.append("name \udcff of bytes")
    assert (tmp_path / "a.log").read_text("utf-8").splitlines() == ["first ä中", "name \\udcff of bytes"]
    file.close()


def test_line_file__mends_half_a_line(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"whole\nhal")
    file = LineFile(path)
    file.append("next")
    file.close()
    assert path.read_text() == "whole\nhal\nnext\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_line_file__full_disk_names_the_file(tmp_path):
    (tmp_path / "a.log").symlink_to("/dev/full")
    file = LineFile(tmp_path / "a.log")
    with pytest.raises(OSError, match=r"a\.log"):
        file.append("text")


def write_log(path: Path, head: dict, *points: tuple[int, int, float]) -> Path:
    lines = [head]
    lines += [{"mode": "train", "epoch": e, "iter": i, "lr": 1e-3, "loss": loss} for e, i, loss in points]
    lines += [{"mode": "val", "epoch": 1, "iter": 9, "lr": 1e-3, "accuracy_top-1": 1.0}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_read_points__later_parts_replace_what_they_repeat(tmp_path):
    old = write_log(tmp_path / "1.log.json", {"seed": 0}, (1, 5, 9.0), (9, 5, 9.0))
    first = write_log(tmp_path / "2.log.json", {"seed": 0}, (1, 5, 1.0), (1, 10, 0.9), (2, 5, 0.8), (2, 10, 0.7))
    second = write_log(tmp_path / "3.log.json", {"seed": 0, "resumed_iteration": 12}, (2, 5, 0.6), (2, 10, 0.5))
    points = read_points([old, first, second], until=15, iterations_per_epoch=10)
    assert points == [Point(5, 1.0, 1e-3), Point(10, 0.9, 1e-3), Point(15, 0.6, 1e-3)]


def test_read_points__two_parts_in_one_file(tmp_path):
    path = write_log(tmp_path / "1.log.json", {}, (1, 5, 1.0), (1, 10, 0.9))
    second = write_log(tmp_path / "2.log.json", {"resumed_iteration": 5}, (1, 10, 0.8))
    path.write_text(path.read_text() + second.read_text())
    assert [point.loss for point in read_points([path], until=99, iterations_per_epoch=10)] == [1.0, 0.8]


def test_read_points__by_iteration_and_the_highest_rate(tmp_path):
    path = tmp_path / "1.log.json"
    path.write_text('{"mode": "train", "epoch": 7, "iter": 50, "lr": 1e-6, "loss": 2, "max_lr": 1e-3}\n')
    assert read_points([path], until=99, iterations_per_epoch=None) == [Point(50, 2.0, 1e-3)]


def test_read_points__broken_lines_are_left_out(tmp_path):
    path = write_log(tmp_path / "1.log.json", {"seed": 0}, (1, 5, math.nan))
    with path.open("ab") as file:
        file.write(b'[1]\n"text"\n{"mode": "train"}\n\xff\xfe\n{"mode": "train", "epoch": 1, "it')
    (point,) = read_points([path], until=99, iterations_per_epoch=10)
    assert point.iteration == 5 and math.isnan(point.loss)
