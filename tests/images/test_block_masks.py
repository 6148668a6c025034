"""Masks against the algorithm written down once more, with Python's own random numbers, and golden statistics."""

import math
import random

import numpy as np
import pytest

from modelscope_beit.images.block_masks import block_mask
from modelscope_beit.settings.masked_pretraining import MaskingSettings

NUM_MASKS = 10_000
PUBLISHED = MaskingSettings()


def reference_mask(rows: int, columns: int, count: int, smallest: int, rng: random.Random) -> tuple[np.ndarray, int]:
    """Returns a mask made as the description says, and how many patches had to be hidden one by one."""
    hidden: set[tuple[int, int]] = set()
    while len(hidden) < count:
        budget, before = count - len(hidden), len(hidden)
        for _ in range(10):
            area = rng.uniform(smallest, budget)
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            height, width = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
            if not (width < columns and height < rows):
                continue
            top, left = rng.randint(0, rows - height), rng.randint(0, columns - width)
            block = {(row, column) for row in range(top, top + height) for column in range(left, left + width)}
            if 0 < len(block - hidden) <= budget:
                hidden |= block
                break
        if len(hidden) == before:
            break
    missing = count - len(hidden)
    visible = [(row, column) for row in range(rows) for column in range(columns) if (row, column) not in hidden]
    hidden |= set(rng.sample(visible, missing))
    mask = np.zeros((rows, columns), bool)
    mask[tuple(zip(*hidden, strict=True))] = True
    return mask, missing


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([block_mask((14, 14), PUBLISHED, rng) for _ in range(NUM_MASKS)])


def test_block_mask__hides_75_of_196(masks):
    assert masks.dtype == bool and masks.shape == (NUM_MASKS, 14, 14)
    assert (masks.sum(axis=(1, 2)) == 75).all()


def test_block_mask__has_the_golden_probabilities(masks):
    """Measured on unilm's own generator: corner 0.044, middle of an edge 0.195, centre 0.72."""
    share = masks.mean(axis=0)
    corners = [share[0, 0], share[0, -1], share[-1, 0], share[-1, -1]]
    edges = [share[0, 6:8], share[-1, 6:8], share[6:8, 0], share[6:8, -1]]
    assert np.mean(corners) == pytest.approx(0.044, abs=0.004)
    assert np.mean(edges) == pytest.approx(0.195, abs=0.006)
    assert share[6:8, 6:8].mean() == pytest.approx(0.72, abs=0.01)


def test_block_mask__reaches_the_last_row_and_column_as_often_as_the_first(masks):
    """A half-open placement, as in mmpretrain, would leave the last ones out."""
    share = masks.mean(axis=0)
    for first, last in ((share[0], share[-1]), (share[:, 0], share[:, -1])):
        assert last.mean() == pytest.approx(first.mean(), abs=0.01)
        assert last.mean() > 0.1


def test_block_mask__has_the_distribution_of_the_algorithm(masks):
    """Every patch alone, with its neighbours and with one further away, within the noise of both samples."""
    rng = random.Random(1)
    count = 4000
    expected = np.stack([reference_mask(14, 14, 75, 16, rng)[0] for _ in range(count)])
    noise = 4.5 * math.sqrt(0.25 / count + 0.25 / NUM_MASKS)
    assert np.abs(masks.mean(axis=0) - expected.mean(axis=0)).max() < noise
    right = [(some[:, :, 1:] & some[:, :, :-1]).mean(axis=0) for some in (masks, expected)]
    below = [(some[:, 1:] & some[:, :-1]).mean(axis=0) for some in (masks, expected)]
    far = [(some[:, 4:] & some[:, :-4]).mean(axis=0) for some in (masks, expected)]
    for found, wanted in (right, below, far):
        assert np.abs(found - wanted).max() < noise
    # How ragged a mask is: borders between hidden and visible patches.
    borders = [
        (some[:, 1:] ^ some[:, :-1]).sum(axis=(1, 2)) + (some[:, :, 1:] ^ some[:, :, :-1]).sum(axis=(1, 2))
        for some in (masks, expected)
    ]
    tolerance = 5 * math.hypot(borders[0].std() / math.sqrt(NUM_MASKS), borders[1].std() / math.sqrt(count))
    assert borders[0].mean() == pytest.approx(borders[1].mean(), abs=tolerance)


def test_reference__needs_the_top_up_as_often_as_unilm():
    """A check of the test's own oracle: about 32 % of unilm's masks need single patches at the end."""
    rng = random.Random(2)
    missing = [reference_mask(14, 14, 75, 16, rng)[1] for _ in range(3000)]
    assert np.mean([number > 0 for number in missing]) == pytest.approx(0.32, abs=0.03)


@pytest.mark.parametrize(("grid", "count", "smallest"), [((3, 4), 5, 2), ((7, 5), 13, 3), ((2, 2), 1, 1)])
def test_block_mask__of_other_grids_has_the_distribution_of_the_algorithm(grid, count, smallest):
    settings = MaskingSettings(num_masked=count, min_block=smallest)
    rng, other = np.random.default_rng(3), random.Random(3)
    number = 3000
    found = np.stack([block_mask(grid, settings, rng) for _ in range(number)])
    expected = np.stack([reference_mask(*grid, count, smallest, other)[0] for _ in range(number)])
    assert (found.sum(axis=(1, 2)) == count).all()
    assert np.abs(found.mean(axis=0) - expected.mean(axis=0)).max() < 4.5 * math.sqrt(0.5 / number)


def test_block_mask__largest_blocks_are_kept_to():
    settings = MaskingSettings(num_masked=30, min_block=1, max_block=2)
    mask = block_mask((14, 14), settings, np.random.default_rng(0))
    assert mask.sum() == 30


def test_block_mask__all_comes_from_the_generator():
    random.seed(0)
    np.random.seed(0)
    once = block_mask((14, 14), PUBLISHED, np.random.default_rng(5))
    random.seed(1)
    np.random.seed(1)
    assert (block_mask((14, 14), PUBLISHED, np.random.default_rng(5)) == once).all()
    assert (block_mask((14, 14), PUBLISHED, np.random.default_rng(6)) != once).any()
