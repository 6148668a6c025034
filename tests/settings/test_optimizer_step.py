"""optimizer_config, fp16 and precision; mmcv's own optimizer hooks are the judges."""

import math
from typing import Any

import pytest

from modelscope_beit.settings.optimizer_step import GradientClip, OptimizerStep, read_optimizer_step, read_precision
from modelscope_beit.settings.problems import Problems, Section


def step(config: object) -> tuple[OptimizerStep, Problems]:
    train = Section({"optimizer_config": config}, "train", Problems())
    return read_optimizer_step(train), train.problems


def precision(train: dict[str, Any], **top: Any) -> tuple[str, float | None, Problems]:
    problems = Problems()
    section = Section(train, "train", problems)
    return *read_precision(Section(top, "", problems), section, read_optimizer_step(section)), problems


@pytest.mark.parametrize("config", [None, {}, {"grad_clip": None}, {"type": "DistOptimizerHook"}])
def test_read_optimizer_step__no_clipping(config: object) -> None:
    read, problems = step(config)
    assert read == OptimizerStep(None, 1)
    assert not problems.wrong


def test_read_optimizer_step__clips_and_accumulates() -> None:
    read, problems = step(
        {
            "type": "GradientCumulativeOptimizerHook",
            "cumulative_iters": 4,
            "grad_clip": {"max_norm": 5, "norm_type": "inf"},
        }
    )
    assert read == OptimizerStep(GradientClip(5.0, math.inf), 4)
    assert not problems.wrong and not problems.unknown
    assert step({"grad_clip": {"max_norm": 35, "norm_type": 2}})[0].clip == GradientClip(35.0, 2.0)
    # Without its type too: mmcv's plain hook would stumble over the key.
    assert step({"cumulative_iters": 2})[0].accumulation == 2


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"grad_clip": {"norm_type": 2}}, "train.optimizer_config.grad_clip.max_norm is missing"),
        ({"grad_clip": {"max_norm": 0}}, "train.optimizer_config.grad_clip.max_norm is 0"),
        ({"grad_clip": {"max_norm": math.nan}}, "train.optimizer_config.grad_clip.max_norm is nan"),
        ({"grad_clip": {"max_norm": "5"}}, "train.optimizer_config.grad_clip.max_norm is '5'"),
        ({"grad_clip": 5.0}, "train.optimizer_config.grad_clip is 5.0"),
        ({"cumulative_iters": 0}, "train.optimizer_config.cumulative_iters is 0"),
        ([1], "train.optimizer_config is [1]"),
    ],
)
def test_read_optimizer_step__names_what_cannot_be_used(config: object, sentence: str) -> None:
    (wrong,) = step(config)[1].wrong
    assert wrong.startswith(sentence)


def test_read_optimizer_step__notes_misspelt_keys_and_foreign_hooks() -> None:
    problems = step({"grad_clips": {}, "grad_clip": {"max_norm": 1, "norm": 2}})[1]
    assert problems.unknown.keys() == {"train.optimizer_config.grad_clips", "train.optimizer_config.grad_clip.norm"}
    assert "SamOptimizerHook" in step({"type": "SamOptimizerHook"})[1].foreign[0]


@pytest.mark.parametrize(
    ("train", "top", "expected"),
    [
        ({}, {}, ("auto", None)),
        ({"precision": "bf16"}, {}, ("bf16", None)),
        ({"precision": "bf16"}, {"fp16": None}, ("bf16", None)),
        ({"precision": "fp32"}, {"fp16": False}, ("fp32", None)),
        ({"precision": "fp16"}, {}, ("fp16", None)),
        ({}, {"fp16": True}, ("fp16", None)),
        ({}, {"fp16": {}}, ("fp16", 512.0)),
        ({}, {"fp16": {"loss_scale": 128}}, ("fp16", 128.0)),
        ({"precision": "fp16"}, {"fp16": {"loss_scale": "dynamic"}}, ("fp16", None)),
        ({}, {"fp16": {"loss_scale": {"init_scale": 65536.0, "growth_interval": 100}}}, ("fp16", None)),
        ({"optimizer_config": {"type": "Fp16OptimizerHook"}}, {}, ("fp16", 512.0)),
        ({"optimizer_config": {"type": "Fp16OptimizerHook", "loss_scale": 8.0}}, {}, ("fp16", 8.0)),
        (
            {"optimizer_config": {"type": "GradientCumulativeFp16OptimizerHook", "loss_scale": "dynamic"}},
            {"fp16": False},
            ("fp16", None),
        ),
    ],
)
def test_read_precision__of_all_its_places(
    train: dict[str, Any], top: dict[str, Any], expected: tuple[str, float | None]
) -> None:
    *read, problems = precision(train, **top)
    assert tuple(read) == expected
    assert not problems.wrong and not problems.unknown


@pytest.mark.parametrize(
    ("train", "top", "sentence"),
    [
        ({"precision": "bf16"}, {"fp16": True}, "train.precision is 'bf16': fp16 is asked for too"),
        ({"precision": "half"}, {}, "train.precision is 'half': choose one of auto, fp32, bf16, fp16"),
        ({"precision": ["bf16"]}, {}, "train.precision is ['bf16']: choose one of"),
        ({}, {"fp16": 1}, "fp16 is 1: a mapping is expected"),
        ({}, {"fp16": {"loss_scale": 0}}, "fp16.loss_scale is 0: a number above 0"),
        ({}, {"fp16": {"loss_scale": math.inf}}, "fp16.loss_scale is inf: a number above 0"),
        ({}, {"fp16": {"loss_scale": "high"}}, "fp16.loss_scale is 'high': a number is expected"),
    ],
)
def test_read_precision__names_what_cannot_be_used(train: dict[str, Any], top: dict[str, Any], sentence: str) -> None:
    (wrong,) = precision(train, **top)[2].wrong
    assert wrong.startswith(sentence)


@pytest.mark.openmmlab
@pytest.mark.parametrize(
    "config",
    [
        {"grad_clip": None, "detect_anomalous_params": True},
        {"type": "GradientCumulativeOptimizerHook", "cumulative_iters": 3, "grad_clip": {"max_norm": 1.0}},
        {
            "type": "Fp16OptimizerHook",
            "loss_scale": 512.0,
            "coalesce": True,
            "bucket_size_mb": -1,
            "distributed": False,
        },
        {"type": "GradientCumulativeFp16OptimizerHook", "cumulative_iters": 3, "loss_scale": 128.0},
    ],
)
def test_read_optimizer_step__takes_what_mmcv_takes(config: dict[str, Any]) -> None:
    runner = pytest.importorskip("mmcv.runner", reason="mmcv is the oracle")
    mmcv = pytest.importorskip("mmcv", reason="mmcv is the oracle")
    hook = mmcv.build_from_cfg({"type": "OptimizerHook"} | config, runner.HOOKS)
    read, problems = step(config)
    assert not problems.wrong and not problems.foreign and not problems.unknown
    assert read.accumulation == getattr(hook, "cumulative_iters", 1)
    assert (read.clip is None) == (hook.grad_clip is None)
    assert read.is_fp16 == hasattr(hook, "loss_scaler")
    assert read.loss_scale == getattr(hook, "_scale_update_param", None)
