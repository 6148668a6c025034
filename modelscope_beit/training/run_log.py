"""What a run tells while it goes on: log lines, metrics.csv, curves.png, TensorBoard. Only the first process writes.

File names and lines are those of ModelScope's stock trainer (mmcv's TextLoggerHook). Whatever is said is on the disk
at once; after a crash there is no half line and no half file.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from modelscope_beit.errors import BeitError
from modelscope_beit.training.averages import PendingIterations, Span
from modelscope_beit.training.event_file import EventFile
from modelscope_beit.training.history import History
from modelscope_beit.training.log_lines import (
    RESUMED_KEY,
    LineFile,
    evaluation_text,
    json_line,
    log_line,
    short,
    train_text,
)
from modelscope_beit.training.memory import peak_memory_mib
from modelscope_beit.training.package_messages import PackageMessages
from modelscope_beit.training.terminal import Terminal

_logger = logging.getLogger(__name__)

# Where no line is written for long, losses are fetched from the device every so many iterations.
_MOST_PENDING = 1000


class RunLog:
    """The log of a run, or of one part of a run that was resumed.

    total_iterations: of the whole run. iterations_per_epoch: None for a run that is counted in iterations.
    interval: training iterations between two lines; an epoch shorter than that gets one line, at its end.
    tensorboard: write events too, if TensorBoard is installed. meta: plain values for the first line of the JSON log
    and, under "env_info", the text that the other one begins with.

    Epochs and iterations are counted from 1, over the whole run: after the third iteration, `iteration` is 3.
    While the log is open, messages of this package's loggers go to it too.
    """

    def __init__(
        self,
        work_dir: Path,
        timestamp: str,
        *,
        is_main: bool,
        total_iterations: int,
        iterations_per_epoch: int | None,
        interval: int,
        tensorboard: bool,
        meta: Mapping[str, object],
    ) -> None:
        self._is_open = is_main
        if not is_main:
            return
        self._total_iterations = total_iterations
        self._iterations_per_epoch = iterations_per_epoch
        self._stretch = iterations_per_epoch or total_iterations
        self._interval = interval
        self._pending = PendingIterations()
        self._since_line = self._since_row = self._since_start = Span()
        self._rates: Sequence[float] = ()
        self._bar_facts = ""
        work_dir.mkdir(parents=True, exist_ok=True)
        self._history = History(work_dir, title=f"Run {timestamp}")
        self._text_file = LineFile(work_dir / f"{timestamp}.log")
        self._json_file = LineFile(work_dir / f"{timestamp}.log.json")
        self._first_line: dict[str, object] | None = dict(meta)
        self._terminal = Terminal(total_iterations)
        self._messages = PackageMessages(self._write)
        if "env_info" in meta:
            rule = "-" * 60
            self._write("INFO", f"Environment info:\n{rule}\n{meta['env_info']}\n{rule}", False)
        self._events = self._open_events(work_dir) if tensorboard else None

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (BeitError, OSError) as second:
            # The error that ended the run is the one to tell.
            if error is None:
                raise
            _logger.warning("%s", second)

    def resumed(self, iteration: int) -> None:
        """Takes over what earlier parts of the run told up to an iteration; what they told after it is dropped.

        To be called before the first iteration; without it, table and curves begin anew.
        """
        if not self._is_open:
            return
        assert self._first_line is not None, "resumed() was called after an iteration"
        self._history.resume(iteration, self._iterations_per_epoch)
        if self._events is not None:
            self._events.resume(iteration)
        self._first_line[RESUMED_KEY] = iteration
        self._begin_json()

    def train(
        self,
        iteration: int,
        epoch: int,
        *,
        learning_rates: Sequence[float],
        loss: Tensor | float,
        num_images: int,
        data_seconds: float,
        seconds: float,
        gradient_norm: Tensor | float | None = None,
    ) -> None:
        """Notes a finished training iteration; every `interval` of them, a line tells their means.

        learning_rates: one per parameter group. loss, gradient_norm: a number, or a tensor of no dimension on any
        device, which is waited for only when a line or a row is due. num_images: of all processes together.
        seconds: how long the iteration took, with data_seconds, the time that it waited for its batch.
        """
        if not self._is_open:
            return
        self._pending.add(loss, num_images, data_seconds, seconds, gradient_norm)
        self._rates = learning_rates
        place = (iteration - 1) % self._stretch + 1
        is_end = place == self._stretch or iteration == self._total_iterations
        if place % self._interval == 0 or (is_end and place < self._interval):
            self._tell_training(iteration, epoch, place)
        elif len(self._pending) >= _MOST_PENDING:
            self._settle()
        if is_end:
            self._end_stretch(iteration, epoch)
        if self._terminal.is_due():
            self._show_bar(iteration, epoch)

    def evaluated(
        self,
        iteration: int,
        epoch: int,
        metrics: Mapping[str, Any],
        *,
        is_best: bool,
        num_images: int,
        mode: str = "val",
    ) -> None:
        """Tells the result of a validation, adds it to the table and brings the curves up to date.

        metrics: mm's keys and units; a list is a value per class. is_best: the best so far, by the recipe's rule.
        num_images: how many pictures were measured. (mmcv has the number of its batches in that place.)
        """
        if not self._is_open:
            return
        self._settle()
        metrics = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in metrics.items()}
        is_by_epoch = self._iterations_per_epoch is not None
        values: dict[str, object] = {"mode": mode, "epoch": epoch, "iter": num_images if is_by_epoch else iteration}
        if self._rates:
            values["lr"] = short(self._rates[0])
        values |= metrics
        place = f"Epoch({mode}) [{epoch}][{num_images}]" if is_by_epoch else f"Iter({mode}) [{iteration}]"
        self._write("INFO", evaluation_text(values, place=place, is_best=is_best))
        self._write_json(values)
        if self._events is not None:
            self._events.add(iteration, {f"{mode}/{name}": value for name, value in metrics.items()})
        self._add_training_row(iteration, epoch)
        self._history.add_evaluation(iteration, epoch, metrics, is_best=is_best)
        self._history.write()
        self._history.draw()

    def stopped_early(self, reason: str) -> None:
        """Tells that the run ends before its length, and marks that in the table and the curves."""
        if not self._is_open:
            return
        self.note(reason)
        self._history.mark_stop()
        self._history.write()

    def draw(self) -> None:
        """Brings the curves up to date, for a page that is to show them."""
        if self._is_open:
            self._history.draw(is_last=True)

    def note(self, text: str) -> None:
        """Says something worth knowing, in one line or several."""
        if self._is_open:
            self._write("INFO", text)

    def warn(self, text: str) -> None:
        """Says something that a person may want to do something about."""
        if self._is_open:
            self._write("WARNING", text)

    def close(self) -> None:
        """Draws the curves a last time and closes everything; to close twice does no harm."""
        if not self._is_open:
            return
        self._is_open = False
        self._terminal.close()
        self._messages.detach()
        try:
            self._history.draw(is_last=True)
        finally:
            self._text_file.close()
            self._json_file.close()
            if self._events is not None:
                self._events.close()

    def _tell_training(self, iteration: int, epoch: int, place: int) -> None:
        self._settle()
        span, self._since_line = self._since_line, Span()
        is_by_epoch = self._iterations_per_epoch is not None
        values = self._training_values(span, epoch, place if is_by_epoch else iteration)
        text = train_text(
            values,
            place=f"Epoch [{epoch}][{place}/{self._stretch}]" if is_by_epoch else f"Iter [{iteration}/{self._stretch}]",
            seconds_left=self._seconds_left(iteration),
        )
        self._write("INFO", text)
        self._write_json(values)
        if self._events is not None:
            told = {f"train/{name}": values[name] for name in ("loss", "grad_norm") if name in values}
            self._events.add(iteration, {**told, "learning_rate": values["lr"]})
        self._history.add_point(iteration, span.mean_loss, max(self._rates))
        self._bar_facts = f"loss {span.mean_loss:.4f}  {span.images_per_second:.1f} images/s"

    def _training_values(self, span: Span, epoch: int, iteration: int) -> dict[str, object]:
        """Returns what a training line tells, in mmcv's order; our own keys come last."""
        values: dict[str, object] = {"mode": "train", "epoch": epoch, "iter": iteration, "lr": short(self._rates[0])}
        memory = peak_memory_mib()
        if memory is not None:
            values["memory"] = memory
        values["data_time"] = short(span.data_seconds / span.iterations)
        values["loss"] = short(span.mean_loss)
        if span.mean_gradient_norm is not None:
            values["grad_norm"] = short(span.mean_gradient_norm)
        values["time"] = short(span.seconds / span.iterations)
        values["images_per_second"] = short(span.images_per_second)
        # mmcv tells the rate of the first group, which with layer-wise decay is the smallest.
        if max(self._rates) != self._rates[0]:
            values["max_lr"] = short(max(self._rates))
        return values

    def _end_stretch(self, iteration: int, epoch: int) -> None:
        """Ends an epoch, or the run: a row of the table. As in mmcv, no line's means span two epochs."""
        self._settle()
        self._since_line = Span()
        self._add_training_row(iteration, epoch)
        self._history.write()
        if not self._history.has_evaluations():
            # Without validation there is no better moment.
            self._history.draw()

    def _add_training_row(self, iteration: int, epoch: int) -> None:
        if self._since_row.iterations and not self._history.has_row(iteration):
            self._history.add_training(iteration, epoch, self._since_row, max(self._rates))
            self._since_row = Span()

    def _settle(self) -> None:
        """Fetches pending losses from the device."""
        span = self._pending.take()
        self._since_line += span
        self._since_row += span
        self._since_start += span

    def _seconds_left(self, iteration: int) -> float:
        """Returns the mean time of this part's iterations times the number of those left, as mmcv does."""
        done = self._since_start
        return done.seconds / max(done.iterations, 1) * (self._total_iterations - iteration)

    def _show_bar(self, iteration: int, epoch: int) -> None:
        num_epochs = -(-self._total_iterations // self._stretch)
        place = f"Epoch {epoch}/{num_epochs}" if self._iterations_per_epoch else f"Iter {iteration}/{self._stretch}"
        self._terminal.advance(iteration, place, self._bar_facts, self._seconds_left(iteration))

    def _write(self, level: str, text: str, on_terminal: bool = True) -> None:
        now = datetime.now()
        line = log_line(level, text, f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}")
        self._text_file.append(line)
        if on_terminal:
            self._terminal.line(line)

    def _write_json(self, values: Mapping[str, object]) -> None:
        self._begin_json()
        self._json_file.append(json_line(values))

    def _begin_json(self) -> None:
        """Writes the JSON log's first line, which waits until it is known whether the run was resumed."""
        if self._first_line is not None:
            self._json_file.append(json_line(self._first_line))
            self._first_line = None

    def _open_events(self, work_dir: Path) -> EventFile | None:
        try:
            return EventFile(work_dir)
        except ImportError as error:
            self.warn(f"TensorBoard gets nothing: {error}. To have its events too: pip install tensorboard")
            return None
