"""The same predictions by the machines of a Ray cluster, or by the processors of this one: Ray Data runs the stream."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

import pyarrow

from modelscope_beit.errors import BeitError, require
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.prediction.stream import Prediction, predict_stream

_BATCHES_PER_TASK = 8  # So that threads decode ahead, and a worker that dies costs no more than these.
_PURPOSE = "to predict with --engine ray"
_FOUND = pyarrow.schema(
    [
        ("place", pyarrow.int64()),
        ("source", pyarrow.string()),
        ("labels", pyarrow.list_(pyarrow.string())),
        ("scores", pyarrow.list_(pyarrow.float64())),
        ("error", pyarrow.string()),
        ("is_unknown", pyarrow.bool_()),
    ]
)


def predict_on_ray(
    open_it: Callable[[], OpenedModel],
    sources: Iterable[str],
    *,
    batch_size: int = 32,
    gpus_per_worker: int = 0,
    **options: Any,
) -> Generator[Prediction, None, None]:
    """Yields the predictions of all pictures, in their order, each once: what predict_stream yields, in its batches.

    open_it: called once in each worker; each machine must find there what it opens, and the pictures.
    sources: all names are taken before the first prediction; they wait in Ray's memory, which goes to disk when it is
        full, not in this process.
    gpus_per_worker: 1 or 0. There are at most as many workers as GPUs, or else as processors, of one thread each.
    options: the other ones of predict_stream.
    A worker that dies is replaced, and what it was at is done again. Joins the cluster that RAY_ADDRESS names, or
    begins one here and ends it. Raises MissingPackageError without the extra ray, BeitError if the workers fail.
    """
    ray = require("ray", extra="ray", purpose=_PURPOSE)
    data = require("ray.data", extra="ray", purpose=_PURPOSE)
    with _running(ray):
        blocks = [ray.put(block) for block in _blocks(sources, batch_size * _BATCHES_PER_TASK)]
        if not blocks:
            return
        processors = int(ray.cluster_resources().get("GPU" if gpus_per_worker else "CPU", 1))
        found = data.from_arrow_refs(blocks).map_batches(
            _Worker,
            fn_constructor_args=(open_it, os.getcwd(), {"batch_size": batch_size, **options}),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=gpus_per_worker,
            compute=data.ActorPoolStrategy(min_size=1, max_size=max(1, processors)),
        )
        found.context.execution_options.preserve_order = True
        found.context.enable_progress_bars = False
        try:
            yield from _in_order(found.iter_batches(batch_size=None, batch_format="pyarrow"))
        except ray.exceptions.RayError as error:
            raise BeitError(f"The workers of Ray failed. Each needs the model and the pictures. {error}") from error


class _Worker:
    """Lives in a process of Ray's: opens the model once and classifies the pictures of one block after another."""

    def __init__(self, open_it: Callable[[], OpenedModel], here: str, options: Mapping[str, Any]) -> None:
        # Names may be relative to where the command was given.
        if os.path.isdir(here):
            os.chdir(here)
        self._model = open_it()
        self._options = options

    def __call__(self, block: pyarrow.Table) -> pyarrow.Table:
        sources = map(os.fsdecode, block["source"].to_pylist())
        found = predict_stream(self._model, sources, **self._options)
        rows = [
            {"place": place, **asdict(prediction)}
            for place, prediction in zip(block["place"].to_pylist(), found, strict=True)
        ]
        return pyarrow.Table.from_pylist(rows, schema=_FOUND)


def _in_order(blocks: Iterable[pyarrow.Table]) -> Iterator[Prediction]:
    """The predictions of all blocks. Ray is asked to keep the order; the numbers of the rows are the proof."""
    expected = 0
    for block in blocks:
        for row in block.to_pylist():
            assert row["place"] == expected, f"Ray gave row {row['place']} in place of {expected}."
            expected += 1
            del row["place"]
            yield Prediction(**row | {name: tuple(row[name]) for name in ("labels", "scores")})


def _blocks(sources: Iterable[str], size: int) -> Iterator[pyarrow.Table]:
    # As bytes: the names of files need not be UTF-8, but Arrow's strings are.
    names, place = map(os.fsencode, sources), 0
    while block := list(islice(names, size)):
        yield pyarrow.table(
            {"place": range(place, place + len(block)), "source": pyarrow.array(block, pyarrow.binary())}
        )
        place += len(block)


@contextmanager
def _running(ray: Any) -> Iterator[None]:
    """Joins the cluster that RAY_ADDRESS names, or begins one here, unless the program has done so already."""
    if ray.is_initialized():
        yield
        return
    # What people run here is told to nobody, unless they wish so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False, logging_level="WARNING")
    try:
        yield
    finally:
        ray.shutdown()
