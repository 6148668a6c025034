"""What happens between a gradient and the optimizer: `optimizer_config`, `fp16` and `train.precision`.

Key names and defaults are those of mmcv 1.7.2, runner/hooks/optimizer.py. Standard library only.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from modelscope_beit.settings.problems import Section
from modelscope_beit.settings.run_settings import at_least_one

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_OPTIMIZER_HOOKS = (
    "OptimizerHook",
    "DistOptimizerHook",
    "GradientCumulativeOptimizerHook",
    "Fp16OptimizerHook",
    "GradientCumulativeFp16OptimizerHook",
)
# mmcv's Fp16OptimizerHook has this fixed scale where none is named.
_MMCV_LOSS_SCALE = 512.0


@dataclass(frozen=True)
class GradientClip:
    """Gradients are scaled down to this norm; norm_type: 2 is the Euclidean, infinity the largest magnitude."""

    max_norm: float
    norm_type: float = 2.0


@dataclass(frozen=True)
class OptimizerStep:
    """What happens between the gradient and the optimizer.

    accumulation: iterations an optimizer step. is_fp16: an fp16 hook is named; loss_scale: its fixed scale, None:
    dynamic.
    """

    clip: GradientClip | None = None
    accumulation: int = 1
    is_fp16: bool = False
    loss_scale: float | None = None


def read_optimizer_step(train: Section) -> OptimizerStep:
    """Returns what `train.optimizer_config` says; without one, or null, gradients are used as they are."""
    if train.get("optimizer_config") is None:
        return OptimizerStep()
    config = train.section("optimizer_config")
    if config is None:
        return OptimizerStep()
    kind = config.get("type", "OptimizerHook")
    if kind not in _OPTIMIZER_HOOKS:
        config.foreign("type", f"native are {', '.join(_OPTIMIZER_HOOKS)}")
    clip = _read_clip(config) if config.get("grad_clip") is not None else None
    accumulation = at_least_one(config, "cumulative_iters") if config.get("cumulative_iters") is not None else 1
    is_fp16 = "Fp16" in str(kind)
    scale = _read_loss_scale(config) if is_fp16 else None
    config.note_unknown_keys(
        harmless=("detect_anomalous_params", "coalesce", "bucket_size_mb", "distributed", "use_fp16")
    )
    return OptimizerStep(clip, accumulation, is_fp16, scale)


def read_precision(root: Section, train: Section, step: OptimizerStep) -> tuple[Precision, float | None]:
    """Returns the precision and the fixed loss scale of fp16 (None: dynamic).

    `fp16` at the top (mmcv: a mapping; true: dynamic scale) and an fp16 optimizer hook mean fp16; otherwise
    train.precision counts.
    """
    precision = train.get("precision", "auto")
    if precision not in get_args(Precision):
        train.wrong("precision", f"choose one of {', '.join(get_args(Precision))}")
        precision = "auto"
    named, scale = step.is_fp16, step.loss_scale
    fp16 = root.get("fp16")
    if isinstance(fp16, bool):
        named, scale = named or fp16, None if fp16 else scale
    elif fp16 is not None and (section := root.section("fp16")) is not None:
        named, scale = True, _read_loss_scale(section)
        section.note_unknown_keys(harmless=("coalesce", "bucket_size_mb", "distributed"))
    if named and precision not in ("auto", "fp16"):
        train.wrong("precision", "fp16 is asked for too (fp16 or an fp16 hook in optimizer_config); remove one of them")
    return ("fp16", scale) if named else (cast(Precision, precision), None)


def _read_clip(config: Section) -> GradientClip | None:
    clip = config.section("grad_clip")
    if clip is None:
        return None
    norm_type = clip.get("norm_type", 2.0)
    norm_type = math.inf if norm_type in ("inf", math.inf) else clip.number("norm_type", 2.0)
    max_norm = clip.number("max_norm", 0.0)
    if not max_norm > 0 and type(clip.mapping.get("max_norm", 0)) in (int, float):
        clip.wrong("max_norm", "a number above 0 is expected; write optimizer_config.grad_clip: null for no clipping")
    clip.note_unknown_keys(harmless=("error_if_nonfinite", "foreach"))
    return GradientClip(max_norm, norm_type)


def _read_loss_scale(section: Section) -> float | None:
    """Returns the fixed scale, or None for one that adapts itself: "dynamic", or a mapping that says how.

    The mapping is passed over: wherever the scale begins, it soon is where it has to be.
    """
    scale = section.get("loss_scale", _MMCV_LOSS_SCALE)
    if scale is None or scale == "dynamic" or isinstance(scale, dict):
        return None
    value = section.number("loss_scale", _MMCV_LOSS_SCALE)
    if not 0 < value < math.inf:
        section.wrong("loss_scale", "a number above 0, or 'dynamic', is expected")
    return value
