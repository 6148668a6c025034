"""The files of a run: checkpoints under mm's names, the best, the newest, and the record that ties them together.

Each file appears as a whole or not at all. The record, run.json, tells which files belong to this run: a best
checkpoint that an earlier run left in the same folder never counts.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope_beit import names
from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.errors import BeitError, CheckpointError, ModelFolderError, UntrustedCodeError
from modelscope_beit.training.run_state import Progress, read_state, write_state

_logger = logging.getLogger(__name__)

RECORD_FILE = "run.json"
LATEST = "latest.pth"


class RunFolder:
    """The folder of one run. Made by the process that writes; the others only read.

    record: what run.json holds: "command", "source", "data", "checkpoints" (oldest first: file, iterations, epoch),
    "best" (file, key, score, epoch, iterations, metrics) and "is_finished".
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Returns an existing run; raises ModelFolderError if the folder holds none."""
        try:
            record = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelFolderError(
                f"{path} is no run folder: reading its {RECORD_FILE} failed ({error}). Give the folder that "
                f"`{names.COMMAND} train` or the trainer's work_dir wrote."
            ) from error
        return cls(path, record)

    @classmethod
    def start(cls, path: Path, facts: Mapping[str, Any], configuration: Mapping[str, object]) -> "RunFolder":
        """Begins a run and returns its folder; what a crash left half done is removed.

        Raises ModelFolderError if nothing can be written there.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            for half in path.glob(".*.partial"):
                half.unlink()
            folder = cls(path, {**facts, "checkpoints": [], "best": {}, "is_finished": False})
            _write_json(path / names.CONFIGURATION_FILE, configuration)
            folder.write_record()
        except (OSError, CheckpointError) as error:
            raise ModelFolderError(f"The run cannot write to {path}: {error}. Choose another work_dir.") from error
        return folder

    @classmethod
    def go_on(
        cls, path: Path, facts: Mapping[str, Any], configuration: Mapping[str, object], progress: Progress
    ) -> "RunFolder":
        """Begins a further part of a run, in the same folder or in a new one.

        What the record says of the time after `progress` is dropped; files stay until new ones take their names.
        progress.best is emptied if its file is gone, so that a later result can be the best.
        """
        before = cls.open(path).record if (path / RECORD_FILE).exists() else {"checkpoints": []}
        folder = cls.start(path, facts, configuration)
        checkpoints = [entry for entry in before["checkpoints"] if entry["iterations"] <= progress.iterations]
        folder.record["checkpoints"] = checkpoints
        if progress.best and not (path / progress.best["file"]).exists():
            twins = [entry["file"] for entry in checkpoints if entry["iterations"] == progress.best["iterations"]]
            if twins:
                write_atomically(path / progress.best["file"], lambda beside: _link_or_copy(path / twins[-1], beside))
            else:
                progress.best = {}
        folder.record["best"] = dict(progress.best)
        folder.write_record()
        return folder

    def write_record(self) -> None:
        """Brings run.json up to date."""
        _write_json(self.path / RECORD_FILE, self.record)

    def save(
        self, name: str, state: Mapping[str, Any], meta: Mapping[str, Any], *, max_keep: int, create_symlink: bool
    ) -> Path:
        """Writes a checkpoint, points latest.pth at it and removes checkpoints beyond max_keep (below 1: none).

        Raises CheckpointError if the disk refuses; older checkpoints are then all still there.
        """
        path = self.path / name
        write_state(path, state, meta)
        kept = [entry for entry in self.record["checkpoints"] if entry["file"] != name]
        kept.append({"file": name, "iterations": meta["iter"], "epoch": meta["epoch"]})
        superfluous = kept[:-max_keep] if max_keep > 0 else []
        self.record["checkpoints"] = kept[len(superfluous) :]
        _point_latest(self.path / LATEST, path, create_symlink=create_symlink)
        self.write_record()
        for entry in superfluous:
            (self.path / entry["file"]).unlink(missing_ok=True)
        return path

    def save_best(
        self, best: Mapping[str, Any], state: Mapping[str, Any], meta: Mapping[str, Any], same_as: Path | None
    ) -> None:
        """Writes the best checkpoint, and then removes the one that was best before.

        same_as: a checkpoint of the very same state; the new file shares its place on the disk.
        """
        path = self.path / best["file"]
        if same_as is None:
            write_state(path, state, meta)
        else:
            write_atomically(path, lambda beside: _link_or_copy(same_as, beside))
        before = self.record["best"].get("file")
        self.record["best"] = dict(best)
        self.write_record()
        if before is not None and before != best["file"]:
            (self.path / before).unlink(missing_ok=True)

    def finish(self) -> None:
        """Notes that the run came to its end."""
        self.record["is_finished"] = True
        self.write_record()


def newest_state(wanted: Path) -> tuple[Path, dict[str, Any]]:
    """Returns the checkpoint to go on from, and its content.

    wanted: a checkpoint, or a run folder for its newest one. If it is damaged, the newest undamaged one of the same
    folder takes its place, and a warning says so. Raises CheckpointError that lists what was tried.
    """
    folder = wanted if wanted.is_dir() else wanted.parent
    candidates = [] if wanted.is_dir() else [wanted.resolve()]
    if wanted.is_dir() or wanted.exists():
        limit = _iterations(wanted, folder)
        candidates += [path for path in _checkpoints(folder, limit) if path not in candidates]
    failures = []
    for path in candidates:
        try:
            state = read_state(path)
        except UntrustedCodeError:
            raise
        except BeitError as error:
            failures.append(str(error))
            continue
        for failure in failures:
            _logger.warning("%s", failure)
        if failures:
            _logger.warning("Going on from the checkpoint before: %s", path)
        return path, state
    tried = "\n- ".join(failures) if failures else "there is none"
    raise CheckpointError(f"There is no checkpoint in {folder} to go on from:\n- {tried}")


def _checkpoints(folder: Path, limit: int | None) -> list[Path]:
    """Returns the checkpoints that the folder's record names, newest first, none beyond `limit` iterations."""
    try:
        entries = RunFolder.open(folder).record["checkpoints"]
    except ModelFolderError:
        # A folder of the stock trainer has no record.
        found = sorted(folder.glob("epoch_*.pth"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [path.resolve() for path in found]
    entries = [entry for entry in entries if limit is None or entry["iterations"] <= limit]
    return [(folder / entry["file"]).resolve() for entry in sorted(entries, key=lambda entry: -entry["iterations"])]


def _iterations(wanted: Path, folder: Path) -> int | None:
    if wanted.is_dir() or not (folder / RECORD_FILE).exists():
        return None
    name = wanted.resolve().name
    for entry in RunFolder.open(folder).record["checkpoints"]:
        if entry["file"] == name:
            return int(entry["iterations"])
    return None


def _point_latest(latest: Path, target: Path, *, create_symlink: bool) -> None:
    if not create_symlink:
        write_atomically(latest, lambda beside: _link_or_copy(target, beside))
        return
    beside = latest.with_name(f".{latest.name}.{os.getpid()}.partial")
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(target.name)
        os.replace(beside, latest)
    except OSError:
        # Some file systems have no links.
        write_atomically(latest, lambda partial: _link_or_copy(target, partial))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))
