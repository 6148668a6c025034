"""Broken pictures among good ones: left out, named, and the good ones unchanged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import helpers
from modelscope_beit.data.batches import evaluation_batches
from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.evaluation.readable import ForgivingTransform, forgiving, readable_rows, reasons
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.settings.configuration import read_configuration

TRANSFORM = EvaluationTransform(read_configuration(helpers.TINY_CONFIGURATION, "made up").preprocessing)
BROKEN, EXTREME = 2, 5


@pytest.fixture
def some_broken(ten_images: list[Path]) -> Records:
    """Ten files, one cut off, one so wide and flat that resizing it is refused."""
    ten_images[BROKEN].write_bytes(ten_images[BROKEN].read_bytes()[:300])
    Image.new("RGB", (300_000, 1)).save(ten_images[EXTREME], "PNG")
    labels = np.arange(10) % 5
    return Records(FilePictures([str(path) for path in ten_images]), labels, tuple("abcde"), description="ten")


@pytest.mark.parametrize("workers", [0, 2])
def test_readable_rows__are_those_that_can_be_read(some_broken: Records, workers: int) -> None:
    left_out: list[int] = []
    batches = evaluation_batches(
        forgiving(some_broken), ForgivingTransform(TRANSFORM), batch_size=3, workers=workers, rank=0, world_size=1
    )
    kept = list(readable_rows(batches, left_out))
    indices = torch.cat([batch.indices for batch in kept])
    images = torch.cat([batch.images for batch in kept])
    assert sorted(left_out) == [BROKEN, EXTREME]
    assert indices.tolist() == [row for row in range(10) if row not in left_out]
    assert torch.cat([batch.labels for batch in kept]).tolist() == [int(row) % 5 for row in indices]
    for row, image in zip(indices.tolist(), images, strict=True):
        torch.testing.assert_close(image, TRANSFORM(read_image(some_broken[row].image)), rtol=0, atol=0)


def test_readable_rows__of_batches_without_a_mark_are_the_batches(some_broken: Records) -> None:
    good = some_broken.select(np.array([0, 1, 3, 4]), "four")
    left_out: list[int] = []
    options = {"batch_size": 2, "workers": 0, "rank": 0, "world_size": 1}
    plain = list(evaluation_batches(good, TRANSFORM, **options))
    ours = list(readable_rows(evaluation_batches(forgiving(good), ForgivingTransform(TRANSFORM), **options), left_out))
    assert left_out == []
    for one, other in zip(ours, plain, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.indices, other.indices)


def test_readable_rows__skip_a_batch_without_any(some_broken: Records) -> None:
    bad = some_broken.select(np.array([BROKEN, EXTREME, 0, BROKEN]), "bad")
    left_out: list[int] = []
    batches = evaluation_batches(
        forgiving(bad), ForgivingTransform(TRANSFORM), batch_size=2, workers=0, rank=0, world_size=1
    )
    (kept,) = readable_rows(batches, left_out)
    assert (kept.indices.tolist(), kept.weights.tolist(), left_out) == ([2], [1.0], [0, 1, 3])


def test_forgiving__keeps_labels_names_and_files(some_broken: Records) -> None:
    records = forgiving(some_broken)
    assert records.files() == some_broken.files()
    assert [records[row].name for row in range(10)] == [some_broken[row].name for row in range(10)]
    assert [records[row].label for row in range(10)] == [some_broken[row].label for row in range(10)]
    assert records.class_names == some_broken.class_names


def test_reasons__name_the_picture_and_the_cause(some_broken: Records) -> None:
    (broken, cause), (extreme, size), (fine, none) = reasons(some_broken, [EXTREME, BROKEN, 7], TRANSFORM)
    assert (broken, extreme, fine) == tuple(some_broken[row].name for row in (BROKEN, EXTREME, 7))
    assert "cannot be read" in cause
    assert "300000x1" in size
    assert none == "could not be read at first, but can be now"
