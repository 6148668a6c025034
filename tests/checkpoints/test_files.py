import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelscope_beit.checkpoints.files import file_digest, read_weights, write_atomically, write_weights
from modelscope_beit.errors import CheckpointError

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = TENSORS) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor)


@pytest.mark.parametrize(
    ("content", "wrapper"),
    [
        (TENSORS, ""),
        ({"model": TENSORS, "epoch": 3}, "model"),
        ({"module": TENSORS, "epoch": 3}, "module"),
        ({"state_dict": TENSORS, "epoch": 3}, "state_dict"),
        ({"epoch": 3, "model_ema": TENSORS}, "model_ema"),
        ({"model_ema": {"a": torch.zeros(1)}, "model": TENSORS, "epoch": 3}, "model"),
        ({"model": {f"module.{key}": tensor for key, tensor in TENSORS.items()}, "epoch": 3}, "model"),
        ({key: torch.nn.Parameter(tensor) for key, tensor in TENSORS.items()}, ""),
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_read_weights__every_wrapper(tmp_path: Path, content: dict[str, Any], wrapper: str, is_zip: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    file = read_weights(path)
    assert_same(file.tensors)
    assert file.wrapper == wrapper
    assert file.metadata == ({"epoch": 3} if wrapper else {})
    assert not any(tensor.requires_grad for tensor in file.tensors.values())


def test_read_weights__training_checkpoint_of_unilm(unilm_file: Path, unilm_state: dict[str, torch.Tensor]) -> None:
    file = read_weights(unilm_file)
    assert_same(file.tensors, unilm_state)
    assert file.metadata["epoch"] == 99
    assert file.metadata["args"] == {"model": "beit_tiny", "lr": 5e-4, "betas": [0.9, 0.999]}
    assert "optimizer" not in file.metadata


def test_read_weights__sharded_index(tmp_path: Path) -> None:
    save_file({"a": TENSORS["a"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": TENSORS["b"]}, tmp_path / "model-00002-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_same(read_weights(index).tensors)
    before = file_digest(index)
    save_file({"b": TENSORS["b"] + 1}, tmp_path / "model-00002-of-00002.safetensors")
    assert file_digest(index) != before
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="missing: model-00002-of-00002.safetensors"):
        read_weights(index)


def test_read_weights__index_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(TENSORS, tmp_path / "secret.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside"):
        read_weights(index)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title></html>", "web page"),
        (b"<html>404</html>", "web page"),
        (b"GIF89a....", "begins with"),
        (b"[1, 2]", "begins with"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "pytorch_model.bin"])
def test_read_weights__what_people_have_in_place_of_weights(
    tmp_path: Path, content: bytes, expected: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=expected) as error:
        read_weights(path)
    assert str(path) in str(error.value)


def test_read_weights__missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_weights(tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match="a folder"):
        read_weights(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_read_weights__truncated_safetensors(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.randn(100, 100)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_weights(path)


def test_read_weights__no_tensor_inside(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    torch.save([torch.zeros(3)], tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError):
            read_weights(tmp_path / name)


def test_read_weights__pickle_named_safetensors_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save(TENSORS, path)
    with pytest.raises(CheckpointError, match="Expected safetensors"):
        read_weights(path)


def test_read_weights__safetensors_of_another_name(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.bin")
    assert_same(read_weights(tmp_path / "weights.bin").tensors)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_write_weights__is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = torch.arange(12.0).reshape(4, 3)
    write_weights(path, TENSORS | {"third": rows[:2], "turned": rows.T}, {"CLASSES": ["cat", "狗"]})
    file = read_weights(path)
    assert_same(file.tensors, TENSORS | {"third": rows[:2], "turned": rows.T})
    assert file.meta == {"CLASSES": ["cat", "狗"]}
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_write_weights__has_the_layout_of_mm_files(tmp_path: Path) -> None:
    write_weights(tmp_path / "weights.pt", TENSORS, {"CLASSES": ["a"]})
    content = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert content.keys() == {"state_dict", "meta"}
    assert content["meta"] == {"CLASSES": ["a"]}
    write_weights(tmp_path / "weights.safetensors", TENSORS)
    assert_same(load_file(tmp_path / "weights.safetensors"))


def test_write_weights__a_third_of_a_tensor_does_not_bring_the_whole(tmp_path: Path) -> None:
    write_weights(tmp_path / "weights.pt", {"third": torch.zeros(3, 100_000)[0]})
    assert (tmp_path / "weights.pt").stat().st_size < 500_000


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64")])
def test_write_atomically__failure_leaves_what_was_there(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "weights.pt"
    write_weights(path, TENSORS)

    def half(beside: Path) -> None:
        beside.write_bytes(b"half")
        raise error

    with pytest.raises(CheckpointError, match="Could not write"):
        write_atomically(path, half)
    assert_same(read_weights(path).tensors)
    assert list(tmp_path.iterdir()) == [path]


def test_write_weights__over_the_file_it_was_read_from(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write_weights(path, TENSORS)
    write_weights(path, read_weights(path).tensors)
    assert_same(read_weights(path).tensors)


def test_file_digest__is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    assert file_digest(path) == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
