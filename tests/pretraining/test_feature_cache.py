"""Kept features: found by pixels, in float16, by other processes too, and after a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modelscope_beit.errors import TrainingError
from modelscope_beit.pretraining.feature_cache import FeatureCache
from modelscope_beit.pretraining.teachers import Teacher, TeacherNetwork


def teacher(seed: int = 0) -> Teacher:
    torch.manual_seed(seed)
    network = nn.Conv2d(3, 5, 4, 4)
    return Teacher(TeacherNetwork(network, network, (0.5,) * 3, (0.5,) * 3, (8, 8), "random"), (2, 2))


def crops(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)


class Asked:
    """A teacher that remembers how many crops it was asked about."""

    def __init__(self, network: Teacher, pixels: Tensor) -> None:
        self.network, self.pixels, self.counts = network, pixels, list[int]()

    def __call__(self, places: Tensor) -> Tensor:
        self.counts.append(len(places))
        return self.network(self.pixels[places].float() / 255)


def test_features__are_those_of_the_teacher_in_float16(tmp_path: Path) -> None:
    made, pixels = teacher(), crops(3)
    asked = Asked(made, pixels)
    cache = FeatureCache(tmp_path, made)
    first, second = cache.features(pixels, asked), cache.features(pixels, asked)
    expected = made(pixels.float() / 255).half().float()
    assert torch.equal(first, expected) and torch.equal(second, expected) and first.dtype == torch.float32
    assert asked.counts == [3] and len(cache) == 3


def test_features__asks_for_what_is_new_only_and_keeps_the_order(tmp_path: Path) -> None:
    made, pixels = teacher(), crops(6)
    cache = FeatureCache(tmp_path, made)
    cache.features(pixels[:3], Asked(made, pixels[:3]))
    mixed = pixels[[4, 0, 5, 2, 2]]
    asked = Asked(made, mixed)
    torch.testing.assert_close(cache.features(mixed, asked), made(mixed.float() / 255).half().float())
    assert asked.counts == [2]


def test_cache__is_found_again_and_by_other_processes(tmp_path: Path) -> None:
    made, pixels = teacher(), crops(5)
    for rows in (slice(0, 3), slice(2, 5)):
        cache = FeatureCache(tmp_path, made)
        cache.features(pixels[rows], Asked(made, pixels[rows]))
    again = FeatureCache(tmp_path, made)
    asked = Asked(made, pixels)
    torch.testing.assert_close(again.features(pixels, asked), made(pixels.float() / 255).half().float())
    assert asked.counts == [] and len(again) == 5


def test_cache__two_runs_at_once_keep_theirs_apart(tmp_path: Path) -> None:
    made, pixels = teacher(), crops(6)
    expected = made(pixels.float() / 255).half().float()
    both = FeatureCache(tmp_path, made), FeatureCache(tmp_path, made)
    for step in range(3):
        for number, cache in enumerate(both):
            rows = pixels[[step + number]]
            torch.testing.assert_close(cache.features(rows, Asked(made, rows)), expected[[step + number]])
    asked = Asked(made, pixels)
    torch.testing.assert_close(FeatureCache(tmp_path, made).features(pixels[:4], asked), expected[:4])
    assert asked.counts == []


def test_cache__another_teacher_has_another_folder(tmp_path: Path) -> None:
    pixels = crops(2)
    first, second = FeatureCache(tmp_path, teacher(0)), FeatureCache(tmp_path, teacher(1))
    first.features(pixels, Asked(teacher(0), pixels))
    assert first.folder != second.folder and len(FeatureCache(tmp_path, teacher(1))) == 0


@pytest.mark.parametrize("kind", ["features", "keys"])
def test_cache__passes_over_what_a_killed_process_left_half_written(tmp_path: Path, kind: str) -> None:
    made, pixels = teacher(), crops(4)
    cache = FeatureCache(tmp_path, made)
    cache.features(pixels, Asked(made, pixels))
    (file,) = cache.folder.glob(f"*.{kind}")
    file.write_bytes(file.read_bytes()[:-7])
    again = FeatureCache(tmp_path, made)
    assert len(again) == 3
    asked = Asked(made, pixels)
    torch.testing.assert_close(again.features(pixels, asked), made(pixels.float() / 255).half().float())
    assert asked.counts == [1]
    last = FeatureCache(tmp_path, made)
    assert len(last) == 4 and torch.equal(last.features(pixels, asked), again.features(pixels, asked))


def test_cache__takes_two_bytes_a_number(tmp_path: Path) -> None:
    made, pixels = teacher(), crops(7)
    cache = FeatureCache(tmp_path, made)
    cache.features(pixels, Asked(made, pixels))
    (file,) = cache.folder.glob("*.features")
    stored = np.fromfile(file, np.float16).reshape(7, 4, 5)
    np.testing.assert_array_equal(stored, made(pixels.float() / 255).half().numpy())


def test_cache__tells_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"cannot be kept in .*file.*One crop takes 40 bytes"):
        FeatureCache(tmp_path / "file", teacher())
