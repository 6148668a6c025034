"""Memory that mirrors a file goes, and comes back with the same numbers; other memory stays."""

import sys
from pathlib import Path

import pytest
import torch

from modelscope_beit.network.mapped_memory import give_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="is about Linux; elsewhere nothing happens")

MEGABYTES = 16


def resident_file_memory() -> float:
    """Megabytes of this process that mirror files."""
    with open("/proc/self/status", encoding="utf-8") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile"))


@pytest.fixture
def mapped(tmp_path: Path) -> torch.Tensor:
    numbers = torch.arange(MEGABYTES << 18, dtype=torch.int32)
    (tmp_path / "numbers").write_bytes(numbers.numpy().tobytes())
    storage = torch.UntypedStorage.from_file(str(tmp_path / "numbers"), shared=False, nbytes=MEGABYTES << 20)
    return torch.empty(0, dtype=torch.int32).set_(storage)


def test_give_back__makes_room_and_loses_nothing(mapped: torch.Tensor) -> None:
    assert int(mapped[::1024].sum()) > 0
    mapped[5] = -7
    before = resident_file_memory()
    give_back([mapped])
    if resident_file_memory() > before - MEGABYTES / 2:
        pytest.skip("this kernel does not take memory back on request")
    assert int(mapped[5]) == -7, "what was written is no longer in the file"
    expected = torch.arange(MEGABYTES << 18, dtype=torch.int32)
    expected[5] = -7
    assert torch.equal(mapped, expected)


def test_give_back__leaves_other_memory_alone() -> None:
    numbers = torch.arange(1 << 20)
    give_back([numbers, torch.empty(0), torch.empty(3)])
    assert torch.equal(numbers, torch.arange(1 << 20))
