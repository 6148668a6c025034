"""Records -> batches for the network, the same ones for any number of threads and from any place of an epoch on.

Threads, not processes, read and augment: what Pillow, numpy and OpenCV do to pixels releases Python's lock. Measured
with pictures of 500x375 pixels, RandomResizedCrop, RandAugment and RandomErasing on two cores that others used too:
163 to 233 pictures/s by two threads, 108 to 111 by two processes. The lock is held for about a quarter of the time, so
one process cannot use more than four or five cores for this; for more GPUs there are more processes.
Threads begin in a millisecond, where four processes take 0.16 s an epoch if they can be forked and 21 s if not (macOS,
Windows, Python 3.14); they need no shared memory, which containers lack; they cannot be killed without a word; and a
script needs no `if __name__ == "__main__"`.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
import torch
from PIL import Image

from modelscope_beit.data.records import Record, Records
from modelscope_beit.data.sampling import Order, epoch_order
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.data.unlabelled import PictureStream
from modelscope_beit.errors import ImageError
from modelscope_beit.images.reading import read_image

RandomTransform = Callable[[Image.Image, np.random.Generator], torch.Tensor]
PictureTransform = Callable[[Image.Image], torch.Tensor]
# Gives several tensors of a picture by name: views, masks.
SampleTransform = Callable[[Image.Image, np.random.Generator], dict[str, torch.Tensor]]

Made = TypeVar("Made")
Together = TypeVar("Together")

# Batches that are made while the network works on one.
_BATCHES_AHEAD = 2

# Keeps the streams' random numbers apart from those of pictures; see sampling.
_STREAM = (1 << 62) + 1


@dataclass(frozen=True)
class Batch:
    """What one process works on in one iteration.

    images: (N, 3, H, W) float32. labels: (N,) int64, or (N, K) float32 zeros and ones of multi-label data.
    indices: (N,) int64, the rows of the records; of a stream the places in this epoch's order.
    weights: (N,) float32: 1; or 0 for the row of a process that the last batch has no row for; it does not count.
    global_size: rows of all processes together, those with weight 0 not counted.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    weights: torch.Tensor
    global_size: int


@dataclass(frozen=True)
class _Row:
    """One picture to come: its number, how often the epoch has drawn it before, its record once that is known."""

    number: int
    occurrence: int = 0
    record: Record | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class _Plan:
    """One batch to come: the rows of this process."""

    rows: list[_Row]
    global_size: int


@dataclass(frozen=True)
class _Sample(Generic[Made]):
    """made: what a transform made of the picture."""

    made: Made
    label: int | tuple[int, ...]
    name: str


def num_batches(records: Records, *, batch_size: int, world_size: int) -> int:
    """Returns the iterations of an epoch: the same for every process; a short last batch counts."""
    return -(-len(records) // (batch_size * world_size))


def training_batches(
    records: Records | StreamedRecords,
    transform: RandomTransform,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    workers: int,
    rank: int,
    world_size: int,
    start_batch: int = 0,
    order: Order = "shuffled",
) -> Generator[Batch, None, None]:
    """Yields the batches of one epoch for one process.

    Batch b of an epoch holds the same pictures, augmented alike, for every world_size with the same
    batch_size * world_size: each process has every world_size-th row of it, and if there are fewer rows than
    processes, the first row with weight 0. A picture's random numbers come from (seed, epoch, row, occurrence).
    start_batch: batches passed over, without reading their pictures (the rows of a stream are read, not decoded).
    workers: threads; 0: everything happens in the caller's thread.
    Raises ImageError naming the data, the row and the file of a picture that cannot be read. Closing the iterator
    ends the threads.
    """

    def prepare(row: _Row, picture: Image.Image) -> torch.Tensor:
        return transform(picture, np.random.default_rng((seed, epoch, row.number, row.occurrence)))

    skipped = start_batch * batch_size * world_size
    plans = _plans(_training_rows(records, seed, epoch, order, skipped), batch_size, rank, world_size)
    return _batches(records, plans, prepare, _assembly(records), workers, batch_size)


def sample_batches(
    records: Records | PictureStream,
    transform: SampleTransform,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    workers: int,
    rank: int,
    world_size: int,
    start_batch: int = 0,
) -> Generator[dict[str, torch.Tensor], None, None]:
    """Yields the whole batches of one epoch for one process, without labels: name -> (N, ...), stacked.

    Rows that do not fill a batch of all processes are left out. Order, random numbers, arguments and errors are those
    of training_batches; a stream that has no end yields batches without end.
    """

    def prepare(row: _Row, picture: Image.Image) -> dict[str, torch.Tensor]:
        return transform(picture, np.random.default_rng((seed, epoch, row.number, row.occurrence)))

    skipped = start_batch * batch_size * world_size
    plans = _plans(_training_rows(records, seed, epoch, "shuffled", skipped), batch_size, rank, world_size)
    whole = (plan for plan in plans if plan.global_size == batch_size * world_size)
    return _batches(records, whole, prepare, _stacked, workers, batch_size)


def evaluation_batches(
    records: Records | StreamedRecords,
    transform: PictureTransform,
    *,
    batch_size: int,
    workers: int,
    rank: int,
    world_size: int,
) -> Generator[Batch, None, None]:
    """Yields the batches of one process, in the order of the records; each row counts in one batch of one process.

    All processes have equally many batches: in the last one, a process without a row gets one with weight 0.
    Raises as training_batches does.
    """
    rows = map(_Row, range(len(records))) if isinstance(records, Records) else _streamed_rows(records, None, skipped=0)
    plans = _plans(rows, batch_size, rank, world_size)
    return _batches(records, plans, lambda row, picture: transform(picture), _assembly(records), workers, batch_size)


def _assembly(records: Records | StreamedRecords) -> Callable[[_Plan, list[_Sample[torch.Tensor]]], Batch]:
    """Returns what makes a batch of the samples of these records."""
    num_classes = len(records.class_names) if records.is_multi_label else None
    return lambda plan, samples: _assembled(plan, samples, num_classes)


def _training_rows(
    records: Records | StreamedRecords | PictureStream, seed: int, epoch: int, order: Order, skipped: int
) -> Iterator[_Row]:
    """Returns the rows of an epoch in their order, without the first `skipped` ones."""
    if isinstance(records, Records):
        return _rows_in_order(*epoch_order(records, seed=seed, epoch=epoch, order=order), skipped)
    stream_seed = int(np.random.default_rng((seed, epoch, _STREAM)).integers(1 << 32))
    return _streamed_rows(records, stream_seed, skipped)


def _rows_in_order(numbers: np.ndarray, occurrences: np.ndarray, skipped: int) -> Iterator[_Row]:
    for number, occurrence in zip(numbers[skipped:].tolist(), occurrences[skipped:].tolist(), strict=True):
        yield _Row(number, occurrence)


def _streamed_rows(records: StreamedRecords | PictureStream, seed: int | None, skipped: int) -> Iterator[_Row]:
    # The parts of a divided stream are numbered as one, or all processes would draw the same crops and masks.
    rank, world_size = records.part if isinstance(records, PictureStream) else (0, 1)
    numbered = enumerate(records.records(seed=seed))
    return (_Row(rank + world_size * number, record=record) for number, record in islice(numbered, skipped, None))


def _plans(rows: Iterable[_Row], batch_size: int, rank: int, world_size: int) -> Iterator[_Plan]:
    """Deals out the rows of each global batch to the processes; one without a row gets the first one, weight 0."""
    remaining = iter(rows)
    while everybody := list(islice(remaining, batch_size * world_size)):
        mine = everybody[rank::world_size]
        if not mine:
            mine = [replace(everybody[0], weight=0.0)]
        yield _Plan(mine, len(everybody))


def _batches(
    records: Records | StreamedRecords | PictureStream,
    plans: Iterator[_Plan],
    prepare: Callable[[_Row, Image.Image], Made],
    assemble: Callable[[_Plan, list[_Sample[Made]]], Together],
    workers: int,
    batch_size: int,
) -> Generator[Together, None, None]:
    """Makes the batches, in order; with workers, the next ones while the caller works on one."""

    def load(row: _Row) -> _Sample[Made]:
        record = records[row.number] if isinstance(records, Records) else row.record
        assert record is not None, "rows of streams carry their record"
        try:
            return _Sample(prepare(row, read_image(record.image)), record.label, record.name)
        except ImageError as error:
            named = str(error) if record.name in str(error) else f"{record.name}: {error}"
            raise ImageError(f"{records.description}, row {row.number}: {named}") from error

    if workers == 0:
        for plan in plans:
            yield assemble(plan, [load(row) for row in plan.rows])
        return
    decoding = ThreadPoolExecutor(workers, thread_name_prefix="beit-decode")
    # A thread of its own, so that it can wait for the others.
    assembling = ThreadPoolExecutor(1, thread_name_prefix="beit-batch")
    waiting: deque[Future[Together]] = deque()
    ahead = max(_BATCHES_AHEAD, -(-2 * workers // batch_size))
    try:
        for plan in plans:
            samples = [decoding.submit(load, row) for row in plan.rows]
            waiting.append(assembling.submit(lambda p, s: assemble(p, [f.result() for f in s]), plan, samples))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        decoding.shutdown(wait=False, cancel_futures=True)
        assembling.shutdown(wait=True, cancel_futures=True)
        decoding.shutdown(wait=True)


def _stacked(plan: _Plan, samples: list[_Sample[dict[str, torch.Tensor]]]) -> dict[str, torch.Tensor]:
    # numpy, as in _assembled.
    return {
        name: torch.from_numpy(np.stack([sample.made[name].numpy() for sample in samples])) for name in samples[0].made
    }


def _assembled(plan: _Plan, samples: list[_Sample[torch.Tensor]], num_classes: int | None) -> Batch:
    """num_classes: of multi-label data, else None."""
    shape = samples[0].made.shape
    for sample in samples:
        if sample.made.shape != shape:
            raise ImageError(
                f"The pictures of a batch must be of equal size, but {samples[0].name} has {tuple(shape)} and "
                f"{sample.name} {tuple(sample.made.shape)} after the transform; add a CenterCrop or a fixed Resize."
            )
    # numpy, since torch would begin threads of its own here. (N, 3, H, W)
    images = torch.from_numpy(np.stack([sample.made.numpy() for sample in samples]))
    if num_classes is None:
        labels = torch.tensor([sample.label for sample in samples], dtype=torch.int64)
    else:
        labels = torch.zeros(len(samples), num_classes)
        for row, sample in enumerate(samples):
            assert isinstance(sample.label, tuple), "multi-label records have tuples"
            labels[row, list(sample.label)] = 1.0
    return Batch(
        images,
        labels,
        torch.tensor([row.number for row in plan.rows]),
        torch.tensor([row.weight for row in plan.rows]),
        plan.global_size,
    )
