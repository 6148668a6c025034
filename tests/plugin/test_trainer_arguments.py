"""The trainer's keywords: each is used, or refused with a word on what to do instead."""

from pathlib import Path
from typing import Any

import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.plugin.preprocessor import ImageClassificationBypassPreprocessor
from modelscope_beit.plugin.trainer_arguments import (
    TrainerArguments,
    is_distributed,
    read_arguments,
    refuse_unused_objects,
    start_processes,
)

# As torchrun sets it for a single process.
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}


def test_read_arguments__takes_what_the_stock_trainer_takes(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "work_dir": tmp_path,
        "resume_from": "runs/epoch_3.pth",
        "device": "gpu:0",
        "gpu_ids": range(2),
        "fp16": {"loss_scale": 512.0},
        "no_validate": True,
        "max_epochs": 3,
        "trust_remote_code": False,
        "launcher": None,
    }
    arguments = read_arguments(given)
    assert arguments.work_dir == str(tmp_path)
    assert (arguments.fp16, arguments.max_epochs, arguments.no_validate) == ({"loss_scale": 512.0}, 3, True)
    assert arguments.load_from is None


def test_read_arguments__nothing_given() -> None:
    assert read_arguments({}) == TrainerArguments()


def test_read_arguments__unknown_ones_all_at_once_with_the_nearest_known() -> None:
    with pytest.raises(SettingsError) as error:
        read_arguments({"max_epoch": 3, "workdir": "x", "eval_datasets": [], "zzz": 1})
    text = str(error.value)
    assert "max_epoch=3" in text and "did you mean max_epochs?" in text
    assert "did you mean work_dir?" in text
    assert "did you mean eval_dataset?" in text
    assert "zzz=1: the trainer has no such argument; known are model" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipe", "best"),
        ("recipe", ["auto"]),
        ("max_epochs", 0),
        ("max_epochs", True),
        ("max_epochs", 2.5),
        ("fp16", "yes"),
        ("gpu_ids", 1),
        ("gpu_ids", ["0"]),
        ("work_dir", ""),
        ("device", 0),
        ("load_from", ["a"]),
        ("launcher", "slurm"),
    ],
)
def test_read_arguments__refuses_what_it_cannot_use(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"{name}="):
        read_arguments({name: value})


def test_read_arguments__launcher_needs_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert is_distributed(read_arguments({"launcher": "pytorch"}))
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(SettingsError, match="lacks MASTER_PORT, which torchrun sets"):
        read_arguments({"launcher": "pytorch"})


def test_is_distributed__without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not is_distributed(read_arguments({"launcher": None}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert is_distributed(TrainerArguments())


def test_start_processes__opens_the_backend_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    start_processes(TrainerArguments(launcher="pytorch", dist_params={"backend": "gloo"}))
    try:
        assert torch.distributed.get_backend() == "gloo"
    finally:
        torch.distributed.destroy_process_group()


def test_start_processes__leaves_the_rest_to_accelerate() -> None:
    start_processes(TrainerArguments(dist_params={"backend": "gloo"}))
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("preprocessor", [None, ImageClassificationBypassPreprocessor()])
def test_refuse_unused_objects__passes_what_changes_nothing(preprocessor: Any) -> None:
    refuse_unused_objects(data_collator=None, preprocessor=preprocessor, optimizers=(None, None))
    refuse_unused_objects(data_collator=None, preprocessor={"train": preprocessor}, optimizers=None)


def test_refuse_unused_objects__names_all_of_them() -> None:
    with pytest.raises(SettingsError) as error:
        refuse_unused_objects(data_collator=list, preprocessor=print, optimizers=(object(), None))
    for word in ("data_collator", "preprocessor.train", "train.optimizer"):
        assert word in str(error.value)
