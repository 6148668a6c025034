"""AutoAugment, RandAugment, ColorJitter and their operations.

Numbers are drawn in the order in which mmcls 0.25 draws them, from the same distributions; given the same numbers, the
pixels are the same (see photometric.py and warping.py for the two cases where they are not).
Pixels are RGB, (H, W, 3), uint8. Source: mmcls 0.25.0, datasets/pipelines/{auto_augment,transforms}.py.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from modelscope_beit.images import photometric, warping
from modelscope_beit.images.erasing import cutout
from modelscope_beit.settings.augmentation_steps import ColorJitter
from modelscope_beit.settings.policies import AutoAugment, LevelledPolicy, RandAugment
from modelscope_beit.settings.policy_operations import (
    AutoContrast,
    Brightness,
    ColorTransform,
    Contrast,
    Cutout,
    Equalize,
    Invert,
    Operation,
    Posterize,
    Rotate,
    Sharpness,
    Shear,
    SignedOperation,
    Solarize,
    SolarizeAdd,
    Translate,
    Warp,
)


def auto_augment(pixels: np.ndarray, step: AutoAugment, rng: np.random.Generator) -> np.ndarray:
    """Returns the pixels after the operations of one of the step's policies."""
    for operation in step.policies[rng.integers(len(step.policies))]:
        pixels = apply_operation(pixels, operation, rng)
    return pixels


def rand_augment(pixels: np.ndarray, step: RandAugment, rng: np.random.Generator) -> np.ndarray:
    """Returns the pixels after `num_policies` operations, drawn with replacement, each at a level of its own."""
    places = rng.integers(len(step.policies), size=step.num_policies)
    for operation in [_at_random_level(step.policies[place], step, rng) for place in places]:
        pixels = apply_operation(pixels, operation, rng)
    return pixels


def color_jitter(pixels: np.ndarray, step: ColorJitter, rng: np.random.Generator) -> np.ndarray:
    """Returns the pixels with brightness, contrast and saturation changed, in random order.

    mmcls draws each factor's distance from 1 first and its sign later.
    """
    operations = [
        Brightness(step.brightness * rng.random(), prob=1.0),
        Contrast(step.contrast * rng.random(), prob=1.0),
        ColorTransform(step.saturation * rng.random(), prob=1.0),
    ]
    for place in rng.permutation(len(operations)):
        pixels = apply_operation(pixels, operations[place], rng)
    return pixels


def apply_operation(pixels: np.ndarray, operation: Operation, rng: np.random.Generator) -> np.ndarray:
    """Returns the pixels after the operation, or as they are: the operation's probability decides."""
    if rng.random() > operation.prob:
        return pixels
    return _FUNCTIONS[type(operation)](pixels, operation, rng)


def _at_random_level(policy: LevelledPolicy, step: RandAugment, rng: np.random.Generator) -> Operation:
    if policy.key is None:
        return policy.operation
    level = step.magnitude_level
    if step.magnitude_std == "inf":
        level *= rng.random()
    elif float(step.magnitude_std) > 0:
        level = min(step.total_level, max(0.0, rng.normal(level, float(step.magnitude_std))))
    low, high = policy.span
    values: dict[str, Any] = {policy.key: level / step.total_level * (high - low) + low}
    return replace(policy.operation, **values)


def _sheared(pixels: np.ndarray, operation: Shear, rng: np.random.Generator) -> np.ndarray:
    magnitude = _signed(operation.magnitude, operation, rng)
    return warping.shear(pixels, magnitude, operation.direction, _fill(operation), operation.interpolation)


def _translated(pixels: np.ndarray, operation: Translate, rng: np.random.Generator) -> np.ndarray:
    share = _signed(operation.magnitude, operation, rng)
    return warping.translate(pixels, share, operation.direction, _fill(operation), operation.interpolation)


def _rotated(pixels: np.ndarray, operation: Rotate, rng: np.random.Generator) -> np.ndarray:
    angle = _signed(operation.angle, operation, rng)
    fill, center, scale = _fill(operation), operation.center, operation.scale
    return warping.rotate(pixels, angle, fill, operation.interpolation, center=center, scale=scale)


def _fill(operation: Warp) -> tuple[float, ...]:
    """Returns pad_val, which is blue, green, red, as red, green, blue."""
    return operation.pad_val[::-1] if isinstance(operation.pad_val, tuple) else (operation.pad_val,) * 3


def _signed(value: float, operation: SignedOperation, rng: np.random.Generator) -> float:
    return -value if rng.random() < operation.random_negative_prob else value


def _enhancing(adjust: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[np.ndarray, Any, Any], np.ndarray]:
    return lambda pixels, operation, rng: adjust(pixels, 1 + _signed(operation.magnitude, operation, rng))


_FUNCTIONS: dict[type[Operation], Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]] = {
    AutoContrast: lambda pixels, operation, rng: photometric.auto_contrast(pixels),
    Brightness: _enhancing(photometric.adjust_brightness),
    ColorTransform: _enhancing(photometric.adjust_color),
    Contrast: _enhancing(photometric.adjust_contrast),
    Cutout: cutout,
    Equalize: lambda pixels, operation, rng: photometric.equalize(pixels),
    Invert: lambda pixels, operation, rng: photometric.invert(pixels),
    Posterize: lambda pixels, operation, rng: photometric.posterize(pixels, operation.bits),
    Rotate: _rotated,
    Sharpness: _enhancing(photometric.adjust_sharpness),
    Shear: _sheared,
    Solarize: lambda pixels, operation, rng: photometric.solarize(pixels, operation.thr),
    SolarizeAdd: lambda pixels, operation, rng: photometric.solarize_add(pixels, operation.magnitude, operation.thr),
    Translate: _translated,
}
