"""Codes kept on disk: found again, appended to, whole after a kill, apart for each tokenizer."""

import hashlib

import numpy as np
import pytest
import torch

from modelscope_beit.errors import TrainingError
from modelscope_beit.pretraining.code_cache import CodeCache, key_of

CODES = torch.arange(24).view(6, 4) * 300


def crop(number: int) -> torch.Tensor:
    return torch.full((3, 2, 2), number, dtype=torch.uint8)


def keys(*numbers: int) -> torch.Tensor:
    return torch.stack([key_of(crop(number)) for number in numbers])


def cache(folder, **changes) -> CodeCache:
    return CodeCache(folder, **({"tokenizer": "sha256:ab", "num_patches": 4, "num_codes": 8192} | changes))


def fill(found: CodeCache, *numbers: int) -> list[list[int]]:
    """Returns what was asked of the tokenizer."""
    asked: list[list[int]] = []

    def compute(places: torch.Tensor) -> torch.Tensor:
        asked.append(places.tolist())
        return CODES[[numbers[place] for place in places.tolist()]]

    assert torch.equal(found.codes(keys(*numbers), compute), CODES[list(numbers)])
    return asked


def test_key_of__is_the_digest_of_the_pixels():
    assert bytes(key_of(crop(3)).tolist()) == hashlib.sha256(bytes([3] * 12)).digest()


def test_codes__are_computed_once(tmp_path):
    found = cache(tmp_path)
    assert fill(found, 2, 0) == [[0, 1]]
    assert fill(found, 0, 5, 2) == [[1]]
    assert fill(found, 5, 0) == []
    assert len(found) == 3


def test_codes__are_found_by_the_next_run_and_by_other_processes(tmp_path):
    fill(cache(tmp_path), 0, 1)
    fill(cache(tmp_path), 1, 2)
    third = cache(tmp_path)
    assert len(third) == 3 and fill(third, 0, 1, 2) == []
    assert len(cache(tmp_path, tokenizer="sha256:cd")) == 0


def test_codes__two_runs_at_once_keep_theirs_apart(tmp_path):
    both = cache(tmp_path), cache(tmp_path)
    for number in range(3):
        for found in both:
            fill(found, number)
    assert fill(cache(tmp_path), 0, 1, 2) == []


def test_codes__what_was_written_half_is_passed_over(tmp_path):
    fill(cache(tmp_path), 0, 1)
    (file,) = tmp_path.glob("*/*.codes")
    assert file.stat().st_size == 2 * (32 + 2 * 4)
    file.write_bytes(file.read_bytes()[:-3])
    again = cache(tmp_path)
    assert len(again) == 1
    assert fill(again, 0, 1) == [[1]]
    assert len(cache(tmp_path)) == 2


def test_codes__more_codes_take_four_bytes(tmp_path):
    found = cache(tmp_path, num_codes=1 << 17)
    large = torch.tensor([[100_000, 0, 1, 2]])
    assert torch.equal(found.codes(keys(0), lambda _: large), large)
    read = np.fromfile(next(tmp_path.glob("*/*.codes")), "<u4")
    assert read[-4] == 100_000


def test_cache__a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match="Choose another folder"):
        cache(tmp_path / "file")
