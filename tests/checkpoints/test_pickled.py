import argparse
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelscope_beit.checkpoints.pickled import read_pickled
from modelscope_beit.errors import CheckpointError, UntrustedCodeError


class RunsACommand:
    """A pickle of this touches a file when it is loaded carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


class SomebodysClass:
    pass


@pytest.mark.parametrize("is_zip", [True, False])
def test_read_pickled__code_is_refused_by_name_and_not_run(tmp_path: Path, is_zip: bool) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "was_run"
    content = {"model": {"a": torch.zeros(3)}, "args": RunsACommand(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(UntrustedCodeError) as error:
        read_pickled(path)
    for expected in (f"{os.system.__module__}.system", str(path), "trust_remote_code", "save its state dict again"):
        assert expected in str(error.value)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_read_pickled__bare_pickle_with_code_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    path, marker = tmp_path / "weights.pt", tmp_path / "was_run"
    path.write_bytes(pickle.dumps([RunsACommand(marker), "text"], protocol=protocol))
    with pytest.raises(UntrustedCodeError, match=f"{os.system.__module__}.system"):
        read_pickled(path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_read_pickled__class_of_a_program_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"config": SomebodysClass()}, path, pickle_protocol=protocol)
    with pytest.raises(UntrustedCodeError, match="SomebodysClass"):
        read_pickled(path)


def test_read_pickled__torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(UntrustedCodeError, match="TorchScript"):
        read_pickled(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_read_pickled__what_training_programs_add_is_data(tmp_path: Path, is_zip: bool) -> None:
    path = tmp_path / "checkpoint.pth"
    added = {
        "args": argparse.Namespace(lr=5e-4, name="beit"),
        "best": np.float64(86.5),
        "epoch": np.int64(3),
        "state": np.random.RandomState(0).get_state()[1],
        "names": np.array(["a", "b"]),
    }
    torch.save({"model": {"a": torch.arange(3)}} | added, path, _use_new_zipfile_serialization=is_zip)
    content: Any = read_pickled(path)
    assert content["args"] == added["args"] and content["best"] == 86.5 and content["epoch"] == 3
    assert np.array_equal(content["state"], added["state"]) and list(content["names"]) == ["a", "b"]
    assert torch.equal(content["model"]["a"], torch.arange(3))


def test_read_pickled__numpy_1_names_are_data(tmp_path: Path) -> None:
    """Files written with numpy before 2.0 call the same functions numpy.core.multiarray."""
    path = tmp_path / "old.pth"
    torch.save({"best": np.float64(1.5)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    content: Any = read_pickled(path)
    assert content["best"] == 1.5


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_read_pickled__truncated_file_is_named(tmp_path: Path, is_zip: bool, share: float) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.randn(100, 100)}, path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="truncated or damaged|cannot read") as error:
        read_pickled(path)
    assert str(path) in str(error.value)


def test_read_pickled__tar_of_the_first_torch_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "ancient.pth"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(CheckpointError, match="tar archive"):
        read_pickled(path)


def test_read_pickled__something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.pt"
    path.write_bytes(b"\xff\xd8\xff\xe0 JFIF" * 10)
    with pytest.raises(CheckpointError, match="begins with"):
        read_pickled(path)
