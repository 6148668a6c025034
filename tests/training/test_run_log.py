"""A run's log: mmcls's own tools parse it, a resumed run reads as one, nothing is lost in a crash."""

import csv
import json
import logging
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from modelscope_beit.errors import CheckpointError
from modelscope_beit.training import history
from modelscope_beit.training.run_log import RunLog

PER_EPOCH = 10
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - modelscope - (INFO|WARNING) - (.*)")
META = {"env_info": "sys.platform: linux\nPython: 3", "seed": 0, "exp_name": "configuration.json", "CLASSES": ["中文"]}


def open_log(folder: Path, timestamp: str = "20261121_070000", **changes) -> RunLog:
    settings = {
        "is_main": True,
        "total_iterations": 3 * PER_EPOCH,
        "iterations_per_epoch": PER_EPOCH,
        "interval": 4,
        "tensorboard": False,
        "meta": META,
    }
    return RunLog(folder, timestamp, **{**settings, **changes})


def loss_of(iteration: int) -> float:
    return 2.0 / iteration


def train(log: RunLog, first: int, last: int, *, validate: bool = True) -> None:
    """Tells the log of iterations, as the loop does, with a validation after each epoch."""
    for iteration in range(first, last + 1):
        epoch = (iteration - 1) // PER_EPOCH + 1
        log.train(
            iteration,
            epoch,
            learning_rates=[1e-3 / iteration, 1e-3 / iteration],
            loss=torch.tensor(loss_of(iteration)),
            num_images=32,
            data_seconds=0.01,
            seconds=0.2,
            gradient_norm=torch.tensor(1.5),
        )
        if validate and iteration % PER_EPOCH == 0:
            metrics = {"accuracy_top-1": 80.0 + epoch, "accuracy_top-5": 99.5}
            log.evaluated(iteration, epoch, metrics, is_best=epoch != 2, num_images=500)


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def finished(tmp_path) -> Path:
    with open_log(tmp_path) as log:
        train(log, 1, 30)
    return tmp_path


def test_run_log__leaves_the_stock_files_and_ours(finished):
    expected = ["20261121_070000.log", "20261121_070000.log.json", "curves.png", "metrics.csv"]
    assert sorted(path.name for path in finished.iterdir()) == expected
    assert Image.open(finished / "curves.png").width == 1200


def test_json_log__has_mmcvs_keys_in_mmcvs_order(finished):
    head, first, *_ = json_lines(finished / "20261121_070000.log.json")
    assert head == META
    expected = ["mode", "epoch", "iter", "lr", "memory", "data_time", "loss", "grad_norm", "time"]
    assert list(first) == [*expected, "images_per_second"]
    assert (first["mode"], first["epoch"], first["iter"]) == ("train", 1, 4)
    assert first["loss"] == pytest.approx(sum(map(loss_of, range(1, 5))) / 4, rel=1e-5)
    assert first["lr"] == pytest.approx(1e-3 / 4) and first["time"] == 0.2
    assert first["images_per_second"] == 160


def test_json_log__one_validation_line_an_epoch(finished):
    lines = json_lines(finished / "20261121_070000.log.json")
    # Means never span two epochs, so iterations 9 and 10 of each are in no line, as in mmcv.
    assert [(line["mode"], line["epoch"], line["iter"]) for line in lines[1:]] == [
        entry for epoch in (1, 2, 3) for entry in (("train", epoch, 4), ("train", epoch, 8), ("val", epoch, 500))
    ]
    assert lines[3] | {"lr": 0} == {
        "mode": "val", "epoch": 1, "iter": 500, "lr": 0, "accuracy_top-1": 81.0, "accuracy_top-5": 99.5,
    }  # fmt: skip
    assert lines[4]["loss"] == pytest.approx(sum(map(loss_of, range(11, 15))) / 4, rel=1e-5)


def test_json_log__mmcls_analyzes_it(finished, tmp_path):
    mmcls = pytest.importorskip("mmcls", reason="mmcls does not install on this Python")
    tool = Path(mmcls.__file__).parent / ".mim" / "tools" / "analysis_tools" / "analyze_logs.py"
    log = str(finished / "20261121_070000.log.json")
    plot = str(tmp_path / "plot.png")
    for arguments in (
        ["cal_train_time", log],
        ["plot_curve", log, "--keys", "loss", "accuracy_top-1", "--out", plot, "--backend", "Agg"],
    ):
        done = subprocess.run([sys.executable, str(tool), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if arguments[0] == "cal_train_time":
            assert "average iter time: 0.2000 s/iter" in done.stdout
    assert Image.open(plot).width > 0


def test_text_log__is_whole_lines(finished):
    text = (finished / "20261121_070000.log").read_text(encoding="utf-8")
    assert text.startswith("20") and "Environment info:\n" + "-" * 60 + "\nsys.platform: linux\nPython: 3\n" in text
    said = [found.group(2) for line in text.splitlines() if (found := LINE.fullmatch(line))]
    assert said[1] == (
        "Epoch [1][4/10]\tlr: 2.500e-04, eta: 0:00:05, time: 0.200, data_time: 0.010, "
        + re.search(r"memory: \d+, ", said[1]).group()
        + "loss: 1.0417, grad_norm: 1.5000, images/s: 160.0"
    )
    assert said[3] == "Epoch(val) [1][500]\taccuracy_top-1: 81.0000, accuracy_top-5: 99.5000 (best so far)"
    assert said[6] == "Epoch(val) [2][500]\taccuracy_top-1: 82.0000, accuracy_top-5: 99.5000"


def test_metrics__a_row_an_epoch(finished):
    first, second, third = rows(finished)
    assert [row["iteration"] for row in (first, second, third)] == ["10", "20", "30"]
    # All iterations of the epoch, also those that no line told.
    assert float(first["train_loss"]) == pytest.approx(sum(map(loss_of, range(1, 11))) / 10, rel=1e-5)
    assert (first["images_per_second"], first["seconds"], first["is_best"]) == ("160.0", "2.0", "true")
    assert (second["accuracy_top-1"], second["is_best"]) == ("82.0", "false")


def test_run_log__resumed_twice_reads_as_one(finished, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("resumed")
    drawn = []
    monkeypatch.setattr(history, "draw_curves", lambda path, points, rows, title: drawn.append((points, rows)))
    with open_log(folder, "20261120_000000") as log:  # Another run in the same folder, before.
        train(log, 1, 30)
    with open_log(folder, "20261121_000001") as log:
        train(log, 1, 17)
    with open_log(folder, "20261121_000002") as log:
        log.resumed(10)
        train(log, 11, 29)
    with open_log(folder, "20261121_000003") as log:
        log.resumed(20)
        train(log, 21, 30)
    assert rows(folder) == rows(finished)
    points, _ = drawn[-1]
    assert [point.iteration for point in points] == [4, 8, 14, 18, 24, 28]
    assert points[2].loss == pytest.approx(sum(map(loss_of, range(11, 15))) / 4, rel=1e-5)
    heads = [json_lines(path)[0].get("resumed_iteration") for path in sorted(folder.glob("*.log.json"))]
    assert heads == [None, None, 10, 20]


def test_run_log__resumed_in_the_middle_of_an_epoch(tmp_path):
    with open_log(tmp_path, "1") as log:
        train(log, 1, 13)
    with open_log(tmp_path, "2") as log:
        log.resumed(12)
        train(log, 13, 20)
    first, second = rows(tmp_path)
    assert (first["iteration"], second["iteration"]) == ("10", "20")
    assert float(second["train_loss"]) == pytest.approx(sum(map(loss_of, range(13, 21))) / 8, rel=1e-5)
    assert [line["iter"] for line in json_lines(tmp_path / "2.log.json")[1:-1]] == [4, 8]


def test_run_log__same_second_same_file(tmp_path):
    for _ in range(2):
        with open_log(tmp_path) as log:
            train(log, 1, 10)
    lines = json_lines(tmp_path / "20261121_070000.log.json")
    assert [line["iter"] for line in lines if "mode" in line] == [4, 8, 500, 4, 8, 500]
    assert len(rows(tmp_path)) == 1


def test_run_log__short_epochs_get_a_line_each(tmp_path):
    with open_log(tmp_path, interval=50) as log:
        train(log, 1, 20)
    lines = json_lines(tmp_path / "20261121_070000.log.json")[1:]
    assert [(line["mode"], line["iter"]) for line in lines] == [("train", 10), ("val", 500)] * 2


def test_run_log__stopped_early(tmp_path):
    with open_log(tmp_path) as log:
        train(log, 1, 20)
        log.stopped_early("Stopped early after iteration 20.")
    assert "INFO - Stopped early after iteration 20." in (tmp_path / "20261121_070000.log").read_text()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["iteration"], row["stopped_early"]) for row in rows] == [("10", ""), ("20", "true")]


def test_run_log__by_iteration(tmp_path):
    with open_log(tmp_path, iterations_per_epoch=None, total_iterations=11) as log:
        train(log, 1, 6, validate=False)
        log.evaluated(6, 1, {"accuracy": 50.0}, is_best=True, num_images=9)
        train(log, 7, 11, validate=False)
    lines = json_lines(tmp_path / "20261121_070000.log.json")[1:]
    assert [(line["mode"], line["iter"]) for line in lines] == [("train", 4), ("val", 6), ("train", 8)]
    # What a validation has seen is still part of the next line.
    assert lines[2]["loss"] == pytest.approx(sum(map(loss_of, range(5, 9))) / 4, rel=1e-5)
    assert [row["iteration"] for row in rows(tmp_path)] == ["6", "11"]
    text = (tmp_path / "20261121_070000.log").read_text()
    assert "Iter [4/11]\t" in text and "Iter(val) [6]\taccuracy: 50.0000" in text


def test_run_log__validation_loss_shares_the_row(tmp_path):
    with open_log(tmp_path) as log:
        train(log, 1, 10)
        log.evaluated(10, 1, {"loss": 0.75}, is_best=False, num_images=500)
    (row,) = rows(tmp_path)
    assert (row["validation_loss"], row["is_best"], row["accuracy_top-1"]) == ("0.75", "true", "81.0")
    assert json_lines(tmp_path / "20261121_070000.log.json")[-1]["loss"] == 0.75


def test_run_log__layer_wise_rates(tmp_path):
    with open_log(tmp_path, interval=1) as log:
        log.train(1, 1, learning_rates=[1e-6, 1e-3], loss=1.0, num_images=1, data_seconds=0.0, seconds=0.1)
    line = json_lines(tmp_path / "20261121_070000.log.json")[1]
    assert (line["lr"], line["max_lr"]) == (1e-6, 1e-3)
    assert "grad_norm" not in line


def test_run_log__numpy_and_tensors_of_metrics(tmp_path):
    numpy = pytest.importorskip("numpy")
    metrics = {"a": numpy.float32(0.5), "per_class": numpy.array([1.0, 2.0]), "b": torch.tensor(0.25)}
    with open_log(tmp_path) as log:
        log.evaluated(10, 1, metrics, is_best=True, num_images=5)
    line = json_lines(tmp_path / "20261121_070000.log.json")[1]
    assert (line["a"], line["per_class"], line["b"], "lr" in line) == (0.5, [1.0, 2.0], 0.25, False)
    assert rows(tmp_path)[0]["per_class"] == "[1.0, 2.0]"


def test_run_log__not_finite(tmp_path):
    with open_log(tmp_path, interval=1) as log:
        log.train(1, 1, learning_rates=[1.0], loss=math.nan, num_images=1, data_seconds=0.0, seconds=0.1)
        log.evaluated(1, 1, {"accuracy": math.nan}, is_best=False, num_images=5)
    assert math.isnan(json_lines(tmp_path / "20261121_070000.log.json")[1]["loss"])


def test_run_log__others_write_nothing(tmp_path, capfd):
    folder = tmp_path / "run"
    with open_log(folder, is_main=False) as log:
        log.resumed(10)
        train(log, 11, 30)
        log.note("hello")
        log.warn("careful")
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")


def test_run_log__says_on_stderr_what_it_writes(tmp_path, capsys):
    with open_log(tmp_path) as log:
        log.note("12 classes: 中文, [bold]\nsecond line")
        log.warn("careful")
    shown = capsys.readouterr().err
    text = (tmp_path / "20261121_070000.log").read_text(encoding="utf-8")
    assert text.endswith(shown) and len(text) > len(shown), "the environment is in the file only"
    assert shown.splitlines()[0].endswith("- modelscope - INFO - 12 classes: 中文, [bold]")
    assert "- modelscope - WARNING - careful\n" in shown


def test_run_log__the_packages_messages_go_to_it(tmp_path):
    with open_log(tmp_path):
        logging.getLogger("modelscope_beit.data.checks").warning("two pictures are the same")
    logging.getLogger("modelscope_beit.data.checks").warning("too late")
    text = (tmp_path / "20261121_070000.log").read_text()
    assert "WARNING - two pictures are the same\n" in text and "too late" not in text


def test_run_log__without_tensorboard_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with open_log(tmp_path, tensorboard=True) as log:
        train(log, 1, 30)
    warnings = [line for line in (tmp_path / "20261121_070000.log").read_text().splitlines() if "TensorBoard" in line]
    assert len(warnings) == 1 and "pip install tensorboard" in warnings[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_run_log__killed_it_has_all_it_said(tmp_path):
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from modelscope_beit.training.run_log import RunLog\n"
        "log = RunLog(Path(sys.argv[1]), '1', is_main=True, total_iterations=99, iterations_per_epoch=5, interval=2,"
        " tensorboard=False, meta={'seed': 0})\n"
        "for i in range(1, 8):\n"
        "    log.train(i, (i - 1) // 5 + 1, learning_rates=[1.0], loss=1.0, num_images=1, data_seconds=0, seconds=1)\n"
        "    if i == 5: log.evaluated(5, 1, {'accuracy': 1.0}, is_best=True, num_images=1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.DEVNULL)
    assert killed.returncode == -9
    assert [line.get("iter") for line in json_lines(tmp_path / "1.log.json")] == [None, 2, 4, 1, 2]
    assert (tmp_path / "1.log").read_text().endswith("\n")
    assert len(rows(tmp_path)) == 1
    Image.open(tmp_path / "curves.png").load()


def test_run_log__a_full_disk_at_the_end_hides_no_error(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise CheckpointError("Could not write curves.png")

    with pytest.raises(ZeroDivisionError), open_log(tmp_path) as log:
        train(log, 1, 5, validate=False)
        monkeypatch.setattr(history, "draw_curves", refuse)
        raise ZeroDivisionError
    assert "Could not write curves.png" in caplog.text
    with pytest.raises(CheckpointError), open_log(tmp_path) as log:
        train(log, 1, 5, validate=False)


def test_close__twice_does_no_harm(tmp_path):
    log = open_log(tmp_path)
    train(log, 1, 5, validate=False)
    log.close()
    log.close()
    log.note("nobody listens any more")


def test_train__costs_next_to_nothing(tmp_path):
    """100,000 iterations between two lines; the clock of the process, since others may be running."""
    total = 100_000
    with open_log(tmp_path, total_iterations=10**6, iterations_per_epoch=10**6, interval=10**6) as log:
        loss = torch.tensor(1.0, requires_grad=True) * 1
        start = time.process_time()
        for iteration in range(1, total + 1):
            log.train(
                iteration,
                1,
                learning_rates=[1e-3] * 8,
                loss=loss,
                num_images=32,
                data_seconds=0.01,
                seconds=0.2,
                gradient_norm=loss,
            )
        seconds = time.process_time() - start
    assert seconds / total < 20e-6


def test_train__does_not_wait_for_the_device_between_lines(tmp_path, monkeypatch):
    waited = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: waited.append(1) or original(tensor))
    for name in ("item", "__float__", "cpu", "__bool__", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("waits for the device"))
    with open_log(tmp_path, interval=5) as log:
        for iteration in range(1, 5):
            train(log, iteration, iteration, validate=False)
        assert waited == []
        train(log, 5, 5, validate=False)
        assert len(waited) == 2, "the losses together, and the norms"
