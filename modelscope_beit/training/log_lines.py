"""The lines of <timestamp>.log and <timestamp>.log.json: how they are made, appended and read back.

Keys, their order and the text are those of mmcv 1.7.2 (runner/hooks/logger/text.py), so that the tools people have
for these files go on working: mmcls's analyze_logs.py, and their own regular expressions.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

# Our key in the first line of a .log.json: this part of the run goes on after so many iterations.
RESUMED_KEY = "resumed_iteration"
# The stock trainer's logger is called so.
_LOGGER_NAME = "modelscope"
# What mmcv's text says in its first half already.
_TOLD_BEFORE = ("mode", "epoch", "iter", "lr", "max_lr", "time", "data_time", "memory", "images_per_second")


class LineFile:
    """A text file that grows by whole lines: what was appended is there, even if the process dies right after.

    A file that ends in half a line, as a power cut leaves it, gets the rest of that line's end first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        if self._file.tell() and path.read_bytes()[-1:] != b"\n":
            self._write(b"\n")

    def append(self, text: str) -> None:
        """Appends a line, or several of them; raises OSError that names the file if the disk refuses."""
        # Names of files may hold bytes that are no UTF-8.
        self._write((text + "\n").encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        try:
            # An unbuffered file may take a part only; one that takes no part raises.
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            error.filename = os.fspath(self.path)
            raise


@dataclass(frozen=True)
class Point:
    """A training line as a point of a curve. iteration: counted over the whole run, from 1."""

    iteration: int
    loss: float
    learning_rate: float


def log_line(level: str, text: str, moment: str) -> str:
    """Returns a line of the .log file. moment: date and time."""
    return f"{moment} - {_LOGGER_NAME} - {level} - {text}"


def train_text(values: Mapping[str, object], *, place: str, seconds_left: float) -> str:
    """Returns mmcv's text of a training line, and the speed. values: of the JSON line. place: "Epoch [1][50/391]"."""
    speed = f"images/s: {values['images_per_second']:.1f}"
    head = [
        _learning_rate_text(values),
        f"eta: {timedelta(seconds=int(seconds_left))}",
        f"time: {values['time']:.3f}",
        f"data_time: {values['data_time']:.3f}",
    ]
    if "memory" in values:
        head.append(f"memory: {values['memory']}")
    return f"{place}\t" + ", ".join([*head, *_others(values), speed])


def evaluation_text(values: Mapping[str, object], *, place: str, is_best: bool) -> str:
    """Returns mmcv's text of a validation line, and whether it is the best so far."""
    return f"{place}\t" + ", ".join(_others(values)) + (" (best so far)" if is_best else "")


def json_line(values: Mapping[str, object]) -> str:
    """Returns a line of the .log.json file: ASCII, since mmcls's reader opens it in the locale's encoding."""
    return json.dumps(values, default=str)


def short(value: float) -> float:
    """Returns the number with six significant digits. (mmcv keeps five decimals, which makes 0 of 1e-6.)"""
    return float(f"{value:.6g}")


def read_points(paths: Sequence[Path], *, until: int, iterations_per_epoch: int | None) -> list[Point]:
    """Returns the training points that the earlier parts of a run left, in their order.

    paths: the .log.json files, oldest first. Each part of the run begins with a line without "mode"; it takes the
    place of what was there behind the iteration that it went on from, or of everything.
    until: the last iteration that counts. A line that is no JSON (the last one, after a power cut) is left out.
    """
    points: list[Point] = []
    for path in paths:
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            values = _parsed(text)
            if values.get("mode") == "train":
                points += _point(values, iterations_per_epoch)
            elif values and "mode" not in values:
                start = values.get(RESUMED_KEY)
                points = _up_to(points, start if isinstance(start, int) else 0)
    return _up_to(points, until)


def _up_to(points: list[Point], last: int) -> list[Point]:
    return [point for point in points if point.iteration <= last]


def _parsed(text: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _point(values: Mapping[str, object], iterations_per_epoch: int | None) -> list[Point]:
    epoch, iteration, loss, rate = (values.get(name) for name in ("epoch", "iter", "loss", "lr"))
    if not (isinstance(epoch, int) and isinstance(iteration, int)):
        return []
    if iterations_per_epoch is not None:
        iteration += (epoch - 1) * iterations_per_epoch
    return [Point(iteration, _number(loss), _number(values.get("max_lr", rate)))]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _learning_rate_text(values: Mapping[str, object]) -> str:
    text = f"lr: {values['lr']:.3e}"
    return f"{text}, max_lr: {values['max_lr']:.3e}" if "max_lr" in values else text


def _others(values: Mapping[str, object]) -> list[str]:
    left = {name: value for name, value in values.items() if name not in _TOLD_BEFORE}
    return [f"{name}: {_shown(value)}" for name, value in left.items()]


def _shown(value: object) -> str:
    if isinstance(value, list):
        # A metric of each class; the JSON line has them all.
        return f"{len(value)} values"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
