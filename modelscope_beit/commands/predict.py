"""Classify pictures: files, whole folders, URLs, or a list of them on standard input.

A few pictures are shown as a table, many as one line each; --json and --out are for programs.
A picture that cannot be read costs its own row only: the others are classified, and the exit status is 3.

Examples:
  beit predict embedded cat.jpg                      the small model that comes with the package
  beit predict damo/cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k photos/ --out photos.csv
  beit predict my_model photos/ --draw labelled      the pictures again, each with its class on it
  find . -name '*.jpg' | beit predict my_model - --json
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, tee
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.prediction.sources import STANDARD_INPUT, expand_sources
from modelscope_beit.prediction.tables import check_table, json_line, open_table, partial_path

if TYPE_CHECKING:
    from modelscope_beit.model_folder.opening import OpenedModel
    from modelscope_beit.prediction.stream import Prediction

SOME_FAILED = 3

_MOST_IN_A_TABLE = 20
_ERRORS_TOLD = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, SOURCE... and how to classify and where to write."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, a hub id, or the word embedded")
    add("sources", metavar="SOURCE", nargs="+", help="a picture, a folder, a URL, or - for a list on standard input")
    add("--topk", type=int, default=5, help="classes told per picture (default: 5)")
    add("--batch-size", type=int, default=32, help="pictures per pass through the network (default: 32)")
    add("--out", type=Path, metavar="FILE", help="write a table: FILE ends in .csv, .jsonl or .parquet")
    add("--draw", type=Path, metavar="DIR", help="write each picture, with its class drawn on it, to a new folder")
    add("--json", action="store_true", help="print one line of JSON per picture")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps ... (default: cpu)")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="threads that decode, and as many that draw (default: one per processor, at most 8)")  # fmt: skip
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def run(arguments: argparse.Namespace) -> int:
    """Classifies the sources and returns 0, or 3 if some pictures could not be classified.

    Raises BeitError before any picture is read if the model, a source or an option cannot be used.
    """
    if arguments.out is not None:
        check_table(arguments.out)
    if arguments.draw is not None:
        # Deferred: it brings Pillow and matplotlib.
        from modelscope_beit.prediction.drawing import check_drawing_folder

        check_drawing_folder(arguments.draw, arguments.sources)
    if STANDARD_INPUT in arguments.sources and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # File names need not be UTF-8.
    sources = expand_sources(arguments.sources, sys.stdin)
    folder = local_path(arguments.model)

    # Deferred, so that help and wrong usage are told at once: this brings torch.
    from modelscope_beit.model_folder.opening import open_model

    model = open_model(folder, device=arguments.device, trust_remote_code=arguments.trust_remote_code)
    first = list(islice(sources, _MOST_IN_A_TABLE + 1))
    tally = _Tally()
    predictions = _predictions(model, chain(first, sources), arguments)
    with closing(predictions), tally.told_at_the_end(arguments.out, arguments.draw):
        arguments.topk = min(arguments.topk, len(model.class_names))
        _show(tally.counted(predictions), arguments, is_long=len(first) > _MOST_IN_A_TABLE)
    return SOME_FAILED if tally.failed else 0


def _predictions(
    model: "OpenedModel", sources: Iterator[str], arguments: argparse.Namespace
) -> "Generator[Prediction, None, None]":
    """The predictions; with --draw, each when its picture has been drawn."""
    # Deferred for the same reason.
    from modelscope_beit.prediction.stream import predict_stream

    sources, again = tee(sources)
    predictions = predict_stream(
        model,
        sources,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        topk=arguments.topk,
    )
    if arguments.draw is None:
        return predictions
    from modelscope_beit.prediction.drawing import draw_predictions

    return draw_predictions(predictions, again, arguments.draw, model.class_names, workers=arguments.workers)


def _show(predictions: "Iterable[Prediction]", arguments: argparse.Namespace, *, is_long: bool) -> None:
    """Writes and prints each prediction as it comes, in the ways that the options ask for."""
    # Deferred for the same reason: rich is not small either.
    from modelscope_beit.commands.facts_view import wide_console
    from modelscope_beit.commands.prediction_view import PictureProgress, prediction_line, prediction_table

    few: list[Prediction] = []
    with ExitStack() as stack:
        progress = stack.enter_context(PictureProgress(_counter(arguments.sources)))
        outputs: list[Callable[[Prediction], object]] = [lambda _: progress.advance()]
        if arguments.out is not None:
            outputs.append(stack.enter_context(open_table(arguments.out, arguments.topk)))
        if arguments.json:
            outputs.append(lambda prediction: progress.print_line(json_line(prediction)))
        elif arguments.out is None and is_long:
            outputs.append(lambda prediction: progress.print_line(prediction_line(prediction)))
        elif arguments.out is None:
            outputs.append(few.append)
        for prediction in predictions:
            for output in outputs:
                output(prediction)
    if few:
        wide_console().print(prediction_table(few))


def _counter(named: list[str]) -> "Callable[[], int] | None":
    """A function that counts the pictures; None if a list on standard input hides their number."""
    return None if STANDARD_INPUT in named else lambda: sum(1 for _ in expand_sources(named))


@dataclass
class _Tally:
    """Counts the predictions that went by and keeps the first errors."""

    total: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    def counted(self, predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
        for prediction in predictions:
            yield prediction
            # Counted when the next one is asked for: this one has been written.
            self.total += 1
            if prediction.error is not None:
                self.failed += 1
                if self.failed <= _ERRORS_TOLD:
                    self.errors.append(f"  {prediction.source}: {prediction.error}")

    @contextmanager
    def told_at_the_end(self, out: Path | None, draw: Path | None) -> Iterator[None]:
        """Says on stderr what was written and what failed, also when the run is cut short."""
        start = time.perf_counter()
        try:
            yield
        except BaseException:
            if out is not None and self.total:
                _tell(f"Stopped: the rows of the first {self.total:,} pictures are kept in {partial_path(out)}.")
            raise
        if out is not None:
            seconds = time.perf_counter() - start
            _tell(f"{self.total:,} pictures in {seconds:.1f} s ({self.total / seconds:.1f} images/s): {out}")
        if draw is not None:
            _tell(f"{self.total - self.failed:,} pictures drawn: {draw}")
        if self.failed:
            _tell(f"{self.failed:,} of {self.total:,} pictures could not be classified:", *self.errors)
            if self.failed > len(self.errors):
                _tell(f"  ... and {self.failed - len(self.errors):,} more; each has the reason in its row.")


def _tell(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)
