import threading
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.data.batches import Batch, evaluation_batches, num_batches, sample_batches, training_batches
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.image_folder import read_image_folder
from modelscope_beit.data.pictures import RowPictures
from modelscope_beit.data.records import Records
from modelscope_beit.data.unlabelled import PictureStream
from modelscope_beit.errors import ImageError

ROWS = 23


def cropped(picture: Image.Image, rng: np.random.Generator) -> torch.Tensor:
    """A training transform in small: a crop of 8 x 8, drawn by the generator."""
    left, top = int(rng.integers(picture.width - 8)), int(rng.integers(picture.height - 8))
    return centred(picture.crop((left, top, left + 8, top + 8)))


def centred(picture: Image.Image) -> torch.Tensor:
    """An evaluation transform in small."""
    return torch.from_numpy(np.asarray(picture.resize((8, 8)), np.float32).transpose(2, 0, 1).copy())


@pytest.fixture
def records(tmp_path: Path, jpegs: Any) -> Records:
    jpegs(tmp_path, [f"{row % 3}/{row:02}.jpg" for row in range(ROWS)])
    return read_image_folder(tmp_path)


def epoch_of(records: Any, **options: Any) -> list[Batch]:
    defaults = {"seed": 5, "epoch": 2, "batch_size": 4, "workers": 0, "rank": 0, "world_size": 1}
    return list(training_batches(records, cropped, **(defaults | options)))


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    for one, other in zip(found, expected, strict=True):
        for name, value in vars(one).items():
            assert np.array_equal(value, getattr(other, name)), name


def test_training_batches__has_every_row_once(records: Records) -> None:
    batches = epoch_of(records)
    assert [len(batch.images) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert len(batches) == num_batches(records, batch_size=4, world_size=1) == 6
    indices = torch.cat([batch.indices for batch in batches])
    assert sorted(indices.tolist()) == list(range(ROWS)) != indices.tolist()
    labels = torch.cat([batch.labels for batch in batches])
    assert labels.dtype == torch.int64 and labels.tolist() == records.labels()[indices].tolist()
    assert batches[0].images.dtype == torch.float32 and batches[0].images.shape == (4, 3, 8, 8)
    assert all((batch.weights == 1).all() and batch.global_size == len(batch.images) for batch in batches)


def test_training_batches__augments_by_seed_epoch_and_row_alone(records: Records) -> None:
    """The pixels can be made again from the promise in the docstring."""
    for batch in epoch_of(records, seed=7, epoch=3):
        for pixels, row in zip(batch.images, batch.indices.tolist(), strict=True):
            with Image.open(records[row].image) as picture:
                expected = cropped(picture, np.random.default_rng((7, 3, row, 0)))
            assert torch.equal(pixels, expected)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("order", ["shuffled", "class_balanced", "repeated"])
def test_training_batches__does_not_depend_on_workers(records: Records, workers: int, order: str) -> None:
    assert_equal(epoch_of(records, workers=workers, order=order), epoch_of(records, order=order))


def test_training_batches__goes_on_in_the_middle_of_an_epoch(records: Records) -> None:
    whole = epoch_of(records)
    for start in (0, 1, 4, 6, 9):
        assert_equal(epoch_of(records, workers=2, start_batch=start), whole[start:])


def test_training_batches__reads_no_picture_that_is_passed_over(records: Records) -> None:
    read = []

    def value_of(row: int) -> str:
        read.append(row)
        return records[row].image

    counted = Records(RowPictures(value_of, one_at_a_time=False), records.labels(), records.class_names, description="")
    assert len(epoch_of(counted, start_batch=5)) == 1
    assert len(read) == 3


def test_training_batches__changes_with_seed_and_epoch(records: Records) -> None:
    firsts = [epoch_of(records, **options)[0].indices.tolist() for options in ({}, {"epoch": 3}, {"seed": 6})]
    assert len(set(map(tuple, firsts))) == 3


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_training_batches__deals_the_same_batches_to_any_number_of_processes(records: Records, world_size: int) -> None:
    whole = epoch_of(records, batch_size=8)
    parts = [epoch_of(records, batch_size=8 // world_size, world_size=world_size, rank=r) for r in range(world_size)]
    assert num_batches(records, batch_size=8 // world_size, world_size=world_size) == len(whole)
    for number, batch in enumerate(whole):
        for rank in range(world_size):
            mine = parts[rank][number]
            assert mine.global_size == batch.global_size
            rows = batch.indices[rank::world_size]
            if len(rows):
                assert torch.equal(mine.images, batch.images[rank::world_size])
                assert torch.equal(mine.indices, rows) and (mine.weights == 1).all()
            else:
                # The last batch has 7 rows: of 8 processes the last one has none.
                assert world_size == 8 and rank == 7 and number == 2
                assert mine.weights.tolist() == [0.0] and torch.equal(mine.images, batch.images[:1])


def test_training_batches__augments_a_repeated_row_anew(records: Records) -> None:
    rare = records.select(np.array([0] + [row for row in range(ROWS) if records.labels()[row] == 1]), "unbalanced")
    batches = epoch_of(rare, order="class_balanced", batch_size=9)
    (batch,) = batches
    repeated = batch.images[batch.indices == 0]
    assert len(repeated) in (4, 5)
    assert len({pixels.numpy().tobytes() for pixels in repeated}) == len(repeated)


def test_training_batches__has_zeros_and_ones_for_several_classes(records: Records) -> None:
    marks = np.zeros((ROWS, 3), bool)
    marks[0, [0, 2]] = True
    several = Records(records._pictures, marks, records.class_names, description="")
    for batch in epoch_of(several):
        assert batch.labels.dtype == torch.float32
        assert np.array_equal(batch.labels, marks[batch.indices])


@pytest.mark.parametrize("workers", [0, 3])
def test_training_batches__tells_the_file_that_cannot_be_read(records: Records, workers: int) -> None:
    path = Path(records[9].image)
    path.write_bytes(path.read_bytes()[:300])
    before = threading.active_count()
    with pytest.raises(ImageError) as caught:
        epoch_of(records, workers=workers)
    assert str(path) in str(caught.value) and "row 9" in str(caught.value)
    assert threading.active_count() == before


def test_training_batches__tells_the_row_of_a_picture_without_a_name() -> None:
    rows = [{"image": b"no picture", "label": 0}] * 3
    with pytest.raises(ImageError, match=r"row \d: #\d: The picture of 10 bytes"):
        epoch_of(records_of(rows, class_names=["x", "y"]))


def test_training_batches__passes_on_whatever_else_goes_wrong(records: Records) -> None:
    def broken(picture: Image.Image, rng: np.random.Generator) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(training_batches(records, broken, seed=0, epoch=0, batch_size=4, workers=2, rank=0, world_size=1))


def test_evaluation_batches__tells_pictures_of_different_sizes() -> None:
    sized = [{"image": Image.new("RGB", (8, size)), "label": 0} for size in (8, 9)]
    options: dict[str, Any] = {"batch_size": 2, "workers": 0, "rank": 0, "world_size": 1}
    with pytest.raises(ImageError, match="CenterCrop"):
        list(evaluation_batches(records_of(sized), lambda picture: torch.zeros(3, *picture.size), **options))


def test_training_batches__ends_its_threads_when_closed(records: Records) -> None:
    before = threading.active_count()
    options: dict[str, Any] = {"seed": 0, "epoch": 0, "batch_size": 2, "workers": 4, "rank": 0, "world_size": 1}
    batches = training_batches(records, cropped, **options)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_training_batches__works_ahead_but_not_far(records: Records) -> None:
    begun = []

    def slow(picture: Image.Image, rng: np.random.Generator) -> torch.Tensor:
        begun.append(1)
        return cropped(picture, rng)

    options: dict[str, Any] = {"seed": 0, "epoch": 0, "batch_size": 4, "workers": 2, "rank": 0, "world_size": 1}
    batches = training_batches(records, slow, **options)
    next(batches)
    time.sleep(0.5)
    # The batch that the caller has, and two more.
    assert len(begun) == 12
    batches.close()


@pytest.mark.parametrize("world_size", [1, 3])
def test_training_batches__of_a_stream_go_on_in_the_middle(tmp_path: Path, jpegs: Any, world_size: int) -> None:
    paths = jpegs(tmp_path, [f"{row}.jpg" for row in range(ROWS)])
    table = datasets.Dataset.from_dict({"image": paths, "label": [row % 3 for row in range(ROWS)]})
    stream = records_of(table.to_iterable_dataset(num_shards=3), class_names=["a", "b", "c"])
    whole = epoch_of(stream, batch_size=6)
    assert sum(batch.global_size for batch in whole) == ROWS
    options = {"batch_size": 6 // world_size, "world_size": world_size}
    for start in (0, 2):
        for rank in range(world_size):
            mine = epoch_of(stream, workers=2, start_batch=start, rank=rank, **options)
            for one, all_of_it in zip(mine, whole[start:], strict=True):
                assert torch.equal(one.images, all_of_it.images[rank::world_size])
    assert not torch.equal(epoch_of(stream, epoch=3)[0].labels, epoch_of(stream, epoch=2)[0].labels)


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 2), (3, 2), (30, 1)])
def test_evaluation_batches__has_each_row_in_one_process(records: Records, world_size: int, workers: int) -> None:
    met, numbers_of_batches = [], set()
    for rank in range(world_size):
        options = {"batch_size": 2, "workers": workers, "rank": rank, "world_size": world_size}
        batches = list(evaluation_batches(records, centred, **options))
        numbers_of_batches.add(len(batches))
        for batch in batches:
            for pixels, row, weight in zip(batch.images, batch.indices.tolist(), batch.weights.tolist(), strict=True):
                met += [row] if weight else []
                with Image.open(records[row].image) as picture:
                    assert torch.equal(pixels, centred(picture))
    assert sorted(met) == list(range(ROWS))
    assert len(numbers_of_batches) == 1, "processes that share a network pass through it equally often"
    if world_size == 1:
        assert met == list(range(ROWS))


def test_evaluation_batches__also_reads_streams() -> None:
    rows = {"image": [{"bytes": None, "path": "x"}], "label": [0]}
    stream = records_of(datasets.Dataset.from_dict(rows).to_iterable_dataset(), class_names=["a"])
    with pytest.raises(ImageError, match="row 0: x: cannot be opened"):
        list(evaluation_batches(stream, centred, batch_size=2, workers=0, rank=0, world_size=1))


def named(picture: Image.Image, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """A sample of two tensors, one of them drawn."""
    return {"image": centred(picture), "number": torch.tensor(int(rng.integers(1 << 30)))}


def samples_of(records: Any, **options: Any) -> list[dict[str, torch.Tensor]]:
    defaults = {"seed": 5, "epoch": 2, "batch_size": 4, "workers": 0, "rank": 0, "world_size": 1}
    return list(sample_batches(records, named, **(defaults | options)))


@pytest.mark.parametrize("workers", [0, 3])
def test_sample_batches__are_the_whole_batches_of_training_batches(records: Records, workers: int) -> None:
    samples = samples_of(records, workers=workers)
    batches = [batch for batch in epoch_of(records) if batch.global_size == 4]
    assert [sample["image"].shape for sample in samples] == [(4, 3, 8, 8)] * 5
    for sample, batch in zip(samples, batches, strict=True):
        rows = [centred(Image.open(records[int(row)].image)) for row in batch.indices]
        assert torch.equal(sample["image"], torch.stack(rows))
        drawn = [int(np.random.default_rng((5, 2, int(row), 0)).integers(1 << 30)) for row in batch.indices]
        assert sample["number"].tolist() == drawn


def test_sample_batches__goes_on_from_any_place_and_is_dealt_out_to_processes(records: Records) -> None:
    whole = samples_of(records)
    later = samples_of(records, start_batch=2)
    assert [sample["number"].tolist() for sample in later] == [sample["number"].tolist() for sample in whole[2:]]
    parts = [samples_of(records, batch_size=2, rank=rank, world_size=2) for rank in range(2)]
    for sample, first, second in zip(whole, *parts, strict=True):
        both = torch.stack([first["number"], second["number"]], dim=1).flatten()
        assert both.tolist() == sample["number"].tolist()


def test_sample_batches__of_a_stream_never_end(records: Records) -> None:
    rows = [{"image": records[row].image} for row in range(ROWS)]
    stream = PictureStream(lambda seed: iter(rows), "image", description="a stream")
    options: dict[str, Any] = {"seed": 5, "epoch": 0, "batch_size": 4, "workers": 0, "rank": 0, "world_size": 1}
    batches = sample_batches(stream, named, **options)
    found = [next(batches)["number"] for _ in range(14)]
    assert sum(len(numbers) for numbers in found) > 2 * ROWS
    again = sample_batches(stream, named, start_batch=9, **options)
    assert next(again)["number"].tolist() == found[9].tolist()


def test_sample_batches__of_a_divided_stream_draw_differently_in_each_process(records: Records) -> None:
    rows = [{"image": records[row].image} for row in range(ROWS)]
    options: dict[str, Any] = {"seed": 5, "epoch": 0, "batch_size": 4, "workers": 0, "rank": 0, "world_size": 1}
    drawn = []
    for rank in range(3):
        stream = PictureStream(lambda seed: iter(rows), "image", description="a part", part=(rank, 3))
        drawn += next(sample_batches(stream, named, **options))["number"].tolist()
    assert len(set(drawn)) == 12
