"""TensorBoard's event file: read with TensorBoard where it is installed, and beside mmcv's names."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from modelscope_beit.training.event_file import EVENT_FOLDER, EventFile


class RecordingWriter:
    """Stands in for SummaryWriter; keeps what it is told."""

    made: list["RecordingWriter"] = []

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.folder, self.purge_step, self.scalars, self.is_closed = folder, purge_step, [], False
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def written(monkeypatch) -> list[RecordingWriter]:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = RecordingWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(RecordingWriter, "made", [])
    return RecordingWriter.made


def test_event_file__writes_numbers_into_mmcvs_folder(tmp_path, written):
    events = EventFile(tmp_path)
    assert written == [], "there should be no empty file before the first number"
    events.add(50, {"train/loss": 0.5, "val/precision": [1.0, 2.0], "note": "text"})
    events.add(100, {"train/loss": 0.25})
    events.close()
    (writer,) = written
    assert Path(writer.folder) == tmp_path / EVENT_FOLDER == tmp_path / "tf_logs"
    assert writer.scalars == [("train/loss", 0.5, 50), ("train/loss", 0.25, 100)]
    assert writer.is_closed and writer.purge_step is None


def test_event_file__a_resumed_run_replaces_what_follows(tmp_path, written):
    events = EventFile(tmp_path)
    events.resume(500)
    events.add(550, {"train/loss": 0.5})
    assert written[0].purge_step == 501


def test_event_file__nothing_written_nothing_closed(tmp_path, written):
    EventFile(tmp_path).close()
    assert written == []


def test_event_file__without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError):
        EventFile(tmp_path)


def test_event_file__tensorboard_reads_it(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is optional")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventFile(tmp_path)
    events.add(50, {"train/loss": 0.5})
    events.close()
    accumulator = EventAccumulator(str(tmp_path / EVENT_FOLDER))
    accumulator.Reload()
    assert [(event.step, event.value) for event in accumulator.Scalars("train/loss")] == [(50, 0.5)]
