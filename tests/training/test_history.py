"""The history of a run: which rows and points there are, and how often the picture is drawn."""

import time

import pytest

from modelscope_beit.training import history as module
from modelscope_beit.training.averages import Span
from modelscope_beit.training.history import History
from modelscope_beit.training.log_lines import Point
from modelscope_beit.training.metrics_table import read_metrics

SPAN = Span(iterations=2, images=64, loss=64 * 1.5, seconds=4.0)


@pytest.fixture
def drawings(monkeypatch) -> list:
    """What was drawn, instead of drawing it."""
    drawn = []
    monkeypatch.setattr(
        module, "draw_curves", lambda path, points, rows, title: drawn.append((path.name, list(points), list(rows)))
    )
    return drawn


def test_history__training_and_evaluation_share_a_row(tmp_path):
    history = History(tmp_path, "")
    history.add_training(10, 1, SPAN, 1e-3)
    history.add_evaluation(10, 1, {"loss": 0.5}, is_best=False)
    history.add_evaluation(10, 1, {"accuracy": 90.0}, is_best=True)
    history.add_evaluation(20, 2, {"accuracy": 80.0}, is_best=False)
    history.write()
    assert read_metrics(tmp_path / "metrics.csv", until=99) == [
        {
            "epoch": 1, "iteration": 10, "learning_rate": 1e-3, "train_loss": 1.5, "images_per_second": 16.0,
            "seconds": 4.0, "is_best": True, "validation_loss": 0.5, "accuracy": 90.0,
        },
        {"epoch": 2, "iteration": 20, "is_best": False, "accuracy": 80.0},
    ]  # fmt: skip


def test_history__knows_its_latest_row(tmp_path):
    history = History(tmp_path, "")
    assert not history.has_row(10) and not history.has_evaluations()
    history.add_training(10, 1, SPAN, 1e-3)
    assert history.has_row(10) and not history.has_row(5) and not history.has_evaluations()
    history.add_evaluation(10, 1, {}, is_best=False)
    assert history.has_evaluations()


def test_resume__takes_over_rows_and_points(tmp_path, drawings):
    first = History(tmp_path, "")
    for iteration in (10, 20, 30):
        first.add_training(iteration, iteration // 10, SPAN, 1e-3)
    first.write()
    (tmp_path / "1.log.json").write_text('{"mode": "train", "epoch": 2, "iter": 5, "lr": 0.1, "loss": 1.0}\n')
    second = History(tmp_path, "")
    second.resume(20, 10)
    second.add_point(25, 0.5, 0.1)
    second.write()
    second.draw(is_last=True)
    assert [row["iteration"] for row in read_metrics(tmp_path / "metrics.csv", until=99)] == [10, 20]
    assert drawings[0][1] == [Point(15, 1.0, 0.1), Point(25, 0.5, 0.1)]


def test_mark_stop__until_the_run_goes_on(tmp_path):
    first = History(tmp_path, "")
    first.mark_stop()
    for iteration in (10, 20):
        first.add_training(iteration, iteration // 10, SPAN, 1e-3)
    first.mark_stop()
    first.write()
    assert [row.get("stopped_early") for row in read_metrics(tmp_path / "metrics.csv", until=99)] == [None, True]
    second = History(tmp_path, "")
    second.resume(20, 10)
    second.write()
    assert "stopped_early" not in (tmp_path / "metrics.csv").read_text()


def test_draw__at_most_every_ten_seconds(tmp_path, drawings, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    history = History(tmp_path, "")
    for second in range(100):
        now[0] = 1000.0 + second
        history.add_point(second + 1, 1.0, 0.1)
        history.draw()
    assert len(drawings) == 10
    history.draw(is_last=True)
    assert len(drawings) == 11 and len(drawings[-1][1]) == 100
    history.draw(is_last=True)
    assert len(drawings) == 11, "nothing new to draw"


def test_draw__nothing_to_draw(tmp_path, drawings):
    History(tmp_path, "").draw(is_last=True)
    assert drawings == []
