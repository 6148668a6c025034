"""Length, order, averaging, checkpoints, log, loaders, device; mmcv's own classes are asked for names and defaults."""

import inspect
import logging
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.settings.log_once import log_once
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.settings.run_settings import (
    CheckpointSettings,
    EmaSettings,
    LogSettings,
    read_checkpoint,
    read_device,
    read_ema,
    read_file,
    read_loader,
    read_log,
    read_order,
    read_run_length,
    read_seed,
    read_validation_phase,
    read_zero_head,
)


def section(path: str = "train", **mapping: Any) -> Section:
    return Section(mapping, path, Problems())


def defaults(function: Any) -> dict[str, object]:
    return {name: each.default for name, each in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize(
    ("mapping", "length"),
    [
        ({"max_epochs": 3}, (3, None)),
        ({"max_epochs": 3, "runner": None}, (3, None)),
        ({"runner": {"type": "EpochBasedRunner", "max_epochs": 5}}, (5, None)),
        ({"max_epochs": 3, "runner": {"type": "EpochBasedRunner", "max_epochs": 5}}, (3, None)),
        ({"max_epochs": 3, "runner": {"type": "IterBasedRunner", "max_iters": 70}}, (None, 70)),
        ({"max_epochs": 3, "runner": {"type": "IterBasedRunner", "max_iters": 70, "max_epochs": 3}}, (None, 70)),
    ],
)
def test_read_run_length__as_the_stock_trainer(mapping: dict[str, Any], length: tuple[int | None, int | None]) -> None:
    train = section(**mapping)
    assert read_run_length(train) == length
    assert not train.problems.wrong


def test_read_run_length__tells_which_number_of_epochs_counts(caplog: pytest.LogCaptureFixture) -> None:
    log_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        read_run_length(section(max_epochs=30, runner={"max_epochs": 5}))
    assert "train.max_epochs (30) counts" in caplog.text
    assert "train.runner.max_epochs (5)" in caplog.text


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({}, "train.max_epochs is missing"),
        ({"max_epochs": 0}, "train.max_epochs is 0"),
        ({"max_epochs": True}, "train.max_epochs is True"),
        ({"runner": {"type": "IterBasedRunner"}}, "train.runner.max_iters is missing"),
        ({"max_epochs": 3, "runner": {"max_iters": 9}}, "train.runner.max_iters is 9"),
        ({"max_epochs": 3, "runner": [1]}, "train.runner is [1]"),
    ],
)
def test_read_run_length__names_what_cannot_be_used(mapping: dict[str, Any], sentence: str) -> None:
    train = section(**mapping)
    read_run_length(train)
    assert train.problems.wrong[0].startswith(sentence)


def test_read_run_length__another_runner_is_foreign() -> None:
    train = section(max_epochs=3, runner={"type": "DynamicIterBasedRunner"})
    read_run_length(train)
    assert "train.runner.type" in train.problems.foreign[0]


@pytest.mark.parametrize(
    ("workflow", "has_phase"),
    [
        (None, False),
        ([["train", 1]], False),
        # A longer run of the same phase is the same training.
        ([["train", 5]], False),
        ([["train", 1], ["val", 1]], True),
        ([("train", 1), ("val", 1)], True),
    ],
)
def test_read_validation_phase__of_a_workflow(workflow: object, has_phase: bool) -> None:
    train = section(workflow=workflow)
    assert read_validation_phase(train) is has_phase
    assert not train.problems.wrong


@pytest.mark.parametrize(
    "workflow",
    [[["val", 1]], [["train", 0]], [["train"]], [["train", 2], ["val", 1]], "train", [], [["train", 1], "val"]],
)
def test_read_validation_phase__refuses(workflow: object) -> None:
    train = section(workflow=workflow)
    read_validation_phase(train)
    assert "train.workflow" in train.problems.wrong[0]


def test_read_order__samplers() -> None:
    assert read_order(section()) == read_order(section(sampler=None)) == "shuffled"
    assert read_order(section(sampler={"type": "DistributedSampler", "round_up": True})) == "shuffled"
    assert read_order(section(sampler={"type": "ClassBalanced"})) == "class_balanced"
    repeated = section(sampler={"type": "RepeatAugSampler", "num_repeats": 3, "selected_round": 256})
    assert read_order(repeated) == "repeated"
    assert repeated.problems == Problems()
    often = section(sampler={"type": "RepeatAugSampler", "num_repeats": 4})
    read_order(often)
    assert often.problems.wrong == ["train.sampler.num_repeats is 4: 3 is expected"]
    foreign = section(sampler={"type": "GroupSampler"})
    assert read_order(foreign) == "shuffled"
    assert "train.sampler.type is 'GroupSampler'" in foreign.problems.foreign[0]


@pytest.mark.openmmlab
def test_ema__has_the_keys_and_defaults_of_mmcv() -> None:
    hooks = pytest.importorskip("mmcv.runner.hooks", reason="mmcv is the oracle")
    known = defaults(hooks.EMAHook)
    assert known.pop("resume_from") is None
    settings = read_ema(section(custom_hooks=[{"type": "EMAHook"}]))
    assert settings is not None
    assert vars(settings) == known


def test_read_ema__finds_it_among_others() -> None:
    hooks = [
        {"type": "DistSamplerSeedHook"},
        {"type": "EMAHook", "momentum": 4e-5, "interval": 2, "warm_up": 10, "priority": "ABOVE_NORMAL"},
        {"type": "EmptyCacheHook", "after_epoch": True},
        {"type": "PreciseBNHook", "num_samples": 8192},
        "a hook",
    ]
    train = section(custom_hooks=hooks)
    assert read_ema(train) == EmaSettings(4e-5, 2, 10)
    assert train.problems.unknown.keys() == {"train.custom_hooks[3]", "train.custom_hooks[4]"}
    assert read_ema(section(custom_hooks=hooks[1])) == EmaSettings(4e-5, 2, 10)
    assert read_ema(section(custom_hooks=None)) is None


def test_read_ema__names_what_cannot_be_used() -> None:
    train = section(custom_hooks=[{"type": "EMAHook", "momentum": 1.5, "interval": 0, "warmup": 1, "resume_from": "x"}])
    read_ema(train)
    assert [sentence.split(" ")[0] for sentence in train.problems.wrong] == [
        "train.custom_hooks[0].momentum",
        "train.custom_hooks[0].interval",
        "train.custom_hooks[0].resume_from",
    ]
    assert train.problems.unknown == {"train.custom_hooks[0].warmup": "did you mean warm_up?"}


@pytest.mark.openmmlab
def test_checkpoint__has_the_keys_and_defaults_of_mmcv() -> None:
    hooks = pytest.importorskip("mmcv.runner.hooks", reason="mmcv is the oracle")
    known = defaults(hooks.CheckpointHook)
    assert (
        vars(read_checkpoint(section(checkpoint_config={}), by_epoch=True)).items()
        <= (known | {"create_symlink": True}).items()
    )
    train = section(checkpoint_config={"file_client_args": None, "sync_buffer": False} | {"interval": 1})
    read_checkpoint(train, by_epoch=True)
    assert not train.problems.unknown


def test_read_checkpoint__values() -> None:
    config = {"interval": 500, "by_epoch": False, "max_keep_ckpts": 3, "create_symlink": False, "save_optimizer": False}
    settings = CheckpointSettings(500, False, 3, False, False, True)
    assert read_checkpoint(section(checkpoint_config=config), by_epoch=True) == settings
    assert read_checkpoint(section(checkpoint_config={"interval": 500}), by_epoch=False).by_epoch is False
    assert read_checkpoint(section(checkpoint_config=None), by_epoch=True).interval == -1
    assert read_checkpoint(section(checkpoint_config={"interval": 0}), by_epoch=True).interval == -1


def test_read_checkpoint__notes_what_is_not_done_and_what_is_misspelt() -> None:
    train = section(checkpoint_config={"interval": "1", "max_keep_ckpt": 3, "out_dir": "elsewhere"})
    read_checkpoint(train, by_epoch=True)
    assert train.problems.wrong == ["train.checkpoint_config.interval is '1': a whole number is expected"]
    assert train.problems.unknown.keys() == {"train.checkpoint_config.max_keep_ckpt", "train.checkpoint_config.out_dir"}


def test_read_log__hooks_and_interval() -> None:
    hooks = [{"type": "TextLoggerHook"}, {"type": "TensorboardLoggerHook"}]
    assert read_log(section(log_config={"interval": 10, "hooks": hooks})) == LogSettings(10, True)
    assert read_log(section(log_config={"interval": 10, "hooks": [hooks[0] | {"interval": 7}]})) == LogSettings(7)
    assert read_log(section()) == LogSettings() == read_log(section(log_config={}))


def test_read_log__notes_other_loggers() -> None:
    no_list = section(log_config={"hooks": {"type": "TextLoggerHook"}})
    read_log(no_list)
    assert no_list.problems.wrong[0].startswith("train.log_config.hooks is {'type': 'TextLoggerHook'}")
    train = section(log_config={"interval": 0, "hooks": [{"type": "MlflowLoggerHook"}]})
    read_log(train)
    assert "train.log_config.interval is 0" in train.problems.wrong[0]
    assert train.problems.unknown.keys() == {"train.log_config.hooks[0]"}


def test_read_loader__values() -> None:
    loader = section("train.dataloader", batch_size_per_gpu=8, workers_per_gpu=0, shuffle=True, drop_last=False)
    assert read_loader(loader, shuffles=True) == (8, 0)
    assert not loader.problems.unknown


def test_read_loader__names_what_cannot_be_used_or_has_no_effect() -> None:
    loader = section("evaluation.dataloader", batch_size_per_gpu=0, workers_per_gpu=-1, shuffle=True, batch_size=3)
    read_loader(loader, shuffles=False)
    assert len(loader.problems.wrong) == 2
    assert loader.problems.unknown == {
        "evaluation.dataloader.batch_size": "did you mean batch_size_per_gpu?",
        "evaluation.dataloader.shuffle": "it is always false here",
    }


@pytest.mark.parametrize(
    ("mapping", "device"),
    [
        ({}, "auto"),
        ({"device": None, "gpu_ids": [0]}, "auto"),
        ({"device": "cuda", "gpu_ids": [0]}, "cuda"),
        ({"device": "cuda", "gpu_ids": [2]}, "cuda:2"),
        ({"device": "cuda", "gpu_ids": [0, 1]}, "cuda"),
        ({"device": "cuda:1", "gpu_ids": [2]}, "cuda:1"),
        ({"device": "gpu"}, "cuda"),
        ({"device": "gpu:3"}, "cuda:3"),
        ({"device": "cpu", "gpu_ids": [2]}, "cpu"),
    ],
)
def test_read_device__of_device_and_gpu_ids(mapping: dict[str, Any], device: str) -> None:
    assert read_device(section("", **mapping)) == device


@pytest.mark.parametrize("device", ["cuda:x", "tpu", 0, "CPU "])
def test_read_device__refuses(device: object) -> None:
    root = section("", device=device)
    read_device(root)
    assert root.problems.wrong == [f"device is {device!r}: choose auto, cpu, mps, cuda or cuda:N"]


def test_read_seed__and_file() -> None:
    assert (read_seed(section("")), read_seed(section("", seed=None)), read_seed(section("", seed=7))) == (0, 0, 7)
    negative = section("", seed=-1)
    assert read_seed(negative) == 0
    assert negative.problems.wrong
    assert read_file(section(resume_from=Path("a") / "b"), "resume_from") == str(Path("a") / "b")
    assert read_file(section(resume_from=""), "resume_from") is None
    wrong = section(load_from=3)
    assert read_file(wrong, "load_from") is None
    assert wrong.problems.wrong


def test_read_zero_head__only_zero_is_known() -> None:
    assert read_zero_head(section(head_init="zero"))
    assert not read_zero_head(section(head_init=None)) and not read_zero_head(section())
    wrong = section(head_init="normal")
    assert not read_zero_head(wrong)
    assert wrong.problems.wrong == ["train.head_init is 'normal': null or 'zero' is expected"]
