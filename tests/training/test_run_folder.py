import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from modelscope_beit.errors import CheckpointError, ModelFolderError
from modelscope_beit.training.run_folder import RunFolder, newest_state
from modelscope_beit.training.run_state import Progress

STATE = {"state_dict": {"w": torch.ones(3)}, "optimizer": {"state": {}}, "training": {"iterations": 1}}


def save(folder: RunFolder, epoch: int, *, max_keep: int = -1, create_symlink: bool = True) -> Path:
    state = STATE | {"state_dict": {"w": torch.full((3,), float(epoch))}}
    meta = {"epoch": epoch, "iter": 10 * epoch}
    return folder.save(f"epoch_{epoch}.pth", state, meta, max_keep=max_keep, create_symlink=create_symlink)


def save_best(folder: RunFolder, epoch: int, same_as: Path | None = None) -> None:
    best = {"file": f"best_accuracy_top-1_epoch_{epoch}.pth", "score": 1.0, "iterations": 10 * epoch}
    folder.save_best(best, STATE, {"epoch": epoch, "iter": 10 * epoch}, same_as)


def files(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir()} - {"run.json", "configuration.json"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.start(tmp_path / "run", {"command": "beit train"}, {"task": "image-classification"})


def test_start__writes_configuration_and_record(folder: RunFolder) -> None:
    assert json.loads((folder.path / "configuration.json").read_text()) == {"task": "image-classification"}
    assert RunFolder.open(folder.path).record["command"] == "beit train"


def test_start__removes_what_a_crash_left_half_done(folder: RunFolder) -> None:
    (folder.path / ".epoch_3.pth.123.partial").write_bytes(b"half")
    RunFolder.start(folder.path, {}, {})
    assert files(folder) == set()


def test_start__says_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFolderError, match=r"cannot write to .*Choose another work_dir"):
        RunFolder.start(tmp_path / "file" / "run", {}, {})


def test_open__says_what_a_run_folder_is(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="is no run folder"):
        RunFolder.open(tmp_path)


def test_save__keeps_as_many_as_told_and_points_latest_at_the_newest(folder: RunFolder) -> None:
    for epoch in (1, 2, 3):
        save(folder, epoch, max_keep=2)
    assert files(folder) == {"epoch_2.pth", "epoch_3.pth", "latest.pth"}
    assert (folder.path / "latest.pth").resolve() == folder.path / "epoch_3.pth"
    assert [entry["epoch"] for entry in RunFolder.open(folder.path).record["checkpoints"]] == [2, 3]


def test_save__latest_is_a_file_of_its_own_where_links_are_not_wanted(folder: RunFolder) -> None:
    save(folder, 1, create_symlink=False)
    save(folder, 2, create_symlink=False)
    latest = folder.path / "latest.pth"
    assert not latest.is_symlink()
    assert latest.read_bytes() == (folder.path / "epoch_2.pth").read_bytes()


def test_save__a_full_disk_leaves_the_older_checkpoints(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, 1)

    def fail(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        save(folder, 2)
    monkeypatch.undo()
    assert files(folder) == {"epoch_1.pth", "latest.pth"}
    assert newest_state(folder.path)[0].name == "epoch_1.pth"


def test_save_best__replaces_the_best_before_and_no_stranger(folder: RunFolder) -> None:
    stale = folder.path / "best_accuracy_top-1_epoch_99.pth"
    stale.write_bytes(b"of an earlier run")
    save_best(folder, 1)
    save_best(folder, 2, same_as=save(folder, 2))
    names = files(folder)
    assert names == {"best_accuracy_top-1_epoch_2.pth", "epoch_2.pth", "latest.pth", stale.name}
    assert RunFolder.open(folder.path).record["best"]["file"] == "best_accuracy_top-1_epoch_2.pth"


def test_go_on__drops_the_time_after_the_point(folder: RunFolder) -> None:
    for epoch in (1, 2, 3):
        save(folder, epoch)
    again = RunFolder.go_on(folder.path, {}, {}, Progress(iterations=20))
    assert [entry["epoch"] for entry in again.record["checkpoints"]] == [1, 2]


def test_go_on__brings_back_a_best_file_that_a_later_one_replaced(folder: RunFolder) -> None:
    for epoch in (1, 2, 3):
        save(folder, epoch)
    best = {"file": "best_accuracy_top-1_epoch_1.pth", "score": 0.5, "iterations": 10}
    RunFolder.go_on(folder.path, {}, {}, Progress(iterations=20, best=best))
    assert torch.load(folder.path / best["file"])["state_dict"]["w"][0] == 1


def test_go_on__forgets_a_best_that_is_gone(folder: RunFolder) -> None:
    save(folder, 2)
    progress = Progress(iterations=20, best={"file": "best_x_epoch_1.pth", "score": 0.5, "iterations": 10})
    assert RunFolder.go_on(folder.path, {}, {}, progress).record["best"] == {}
    assert progress.best == {}


def test_newest_state__falls_back_loudly(folder: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    for epoch in (1, 2, 3):
        save(folder, epoch)
    newest = folder.path / "epoch_3.pth"
    newest.write_bytes(newest.read_bytes()[:-200])
    with caplog.at_level(logging.WARNING):
        path, state = newest_state(folder.path / "latest.pth")
    assert path.name == "epoch_2.pth"
    assert state["state_dict"]["w"][0] == 2
    assert "epoch_3.pth" in caplog.text
    assert "checkpoint before" in caplog.text


def test_newest_state__never_goes_on_from_a_later_one(folder: RunFolder) -> None:
    for epoch in (1, 2, 3):
        save(folder, epoch)
    (folder.path / "epoch_2.pth").write_bytes(b"")
    assert newest_state(folder.path / "epoch_2.pth")[0].name == "epoch_1.pth"


def test_newest_state__lists_what_was_tried(folder: RunFolder) -> None:
    save(folder, 1)
    (folder.path / "epoch_1.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*\n- .*epoch_1.pth"):
        newest_state(folder.path)


def test_newest_state__a_missing_file_is_no_reason_to_take_another(folder: RunFolder) -> None:
    save(folder, 1)
    with pytest.raises(CheckpointError, match="there is no such file"):
        newest_state(folder.path / "epoch_7.pth")
