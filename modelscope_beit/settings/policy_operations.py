"""The operations that AutoAugment and RandAugment choose from, as mmcls 0.x spells them. No pixels here.

Each is a frozen dataclass with the name, the keys and the defaults of the mmcls transform; making one raises
SettingsError that lists every value that cannot be used. Source: mmcls 0.25.0, datasets/pipelines/auto_augment.py.
What they do to a picture: images/auto_augment.py.
"""

from dataclasses import dataclass, field
from typing import Any

from modelscope_beit.settings.problems import shown
from modelscope_beit.settings.step_values import (
    INTERPOLATIONS,
    StepSettings,
    byte_problems,
    choice_problems,
    is_number,
    is_numbers,
    number_problems,
    share_problems,
)

SHIFT_DIRECTIONS = ("horizontal", "vertical")


@dataclass(frozen=True, kw_only=True)
class Operation(StepSettings):
    """prob: the probability that the operation is carried out."""

    prob: float = 0.5

    def __post_init__(self) -> None:
        self.refuse(self._problems())

    def _problems(self) -> list[str]:
        return share_problems(prob=self.prob)


@dataclass(frozen=True, kw_only=True)
class SignedOperation(Operation):
    """random_negative_prob: the probability that the magnitude or angle gets the other sign."""

    random_negative_prob: float = 0.5

    def _problems(self) -> list[str]:
        return super()._problems() + share_problems(random_negative_prob=self.random_negative_prob)


@dataclass(frozen=True, kw_only=True)
class Warp(SignedOperation):
    """pad_val: what comes in from outside; one number or three (blue, green, red), 0 to 255."""

    pad_val: float | tuple[float, ...] = 128
    interpolation: str = "nearest"

    def _problems(self) -> list[str]:
        problems = super()._problems() + byte_problems("pad_val", self.pad_val)
        return problems + choice_problems("interpolation", self.interpolation, INTERPOLATIONS["cv2"])


@dataclass(frozen=True)
class Shear(Warp):
    """Shearing; magnitude: pixels along the direction per pixel across it."""

    magnitude: float
    direction: str = "horizontal"
    interpolation: str = field(default="bicubic", kw_only=True)

    def _problems(self) -> list[str]:
        problems = super()._problems() + number_problems(magnitude=self.magnitude)
        return problems + choice_problems("direction", self.direction, SHIFT_DIRECTIONS)


@dataclass(frozen=True)
class Translate(Warp):
    """Moving; magnitude: share of the width or height."""

    magnitude: float
    direction: str = "horizontal"

    def _problems(self) -> list[str]:
        problems = super()._problems() + number_problems(magnitude=self.magnitude)
        return problems + choice_problems("direction", self.direction, SHIFT_DIRECTIONS)


@dataclass(frozen=True)
class Rotate(Warp):
    """Turning clockwise by `angle` degrees around `center` (x, y), by default the middle, and scaling."""

    angle: float
    center: tuple[float, float] | None = None
    scale: float = 1.0

    def _problems(self) -> list[str]:
        problems = super()._problems() + number_problems(angle=self.angle, scale=self.scale)
        if self.center is not None and not is_numbers(self.center, 2):
            problems.append(f"center is {shown(self.center)}, but [x, y] is expected")
        return problems


@dataclass(frozen=True)
class AutoContrast(Operation):
    """Stretching each channel from 0 to 255."""


@dataclass(frozen=True)
class Equalize(Operation):
    """Making each channel's histogram even."""


@dataclass(frozen=True)
class Invert(Operation):
    """The negative."""


@dataclass(frozen=True)
class Solarize(Operation):
    """The negative of values from `thr` upwards."""

    thr: float

    def _problems(self) -> list[str]:
        return super()._problems() + number_problems(thr=self.thr)


@dataclass(frozen=True)
class SolarizeAdd(Operation):
    """Adding `magnitude` to values below `thr`."""

    magnitude: float
    thr: float = 128

    def _problems(self) -> list[str]:
        return super()._problems() + number_problems(magnitude=self.magnitude, thr=self.thr)


@dataclass(frozen=True)
class Posterize(Operation):
    """Keeping the upper `bits` bits, rounded up to a whole number, of each value."""

    bits: float

    def _problems(self) -> list[str]:
        problems = super()._problems()
        if not (is_number(self.bits) and 0 <= self.bits <= 8):
            problems.append(f"bits is {shown(self.bits)}, but a number from 0 to 8 is expected")
        return problems


@dataclass(frozen=True)
class Enhancement(SignedOperation):
    """magnitude: 0 changes nothing, -1 gives the plain form (see each kind), above 0 goes away from it."""

    magnitude: float

    def _problems(self) -> list[str]:
        return super()._problems() + number_problems(magnitude=self.magnitude)


@dataclass(frozen=True)
class Brightness(Enhancement):
    """The plain form is black."""


@dataclass(frozen=True)
class Contrast(Enhancement):
    """The plain form is the mean grey."""


@dataclass(frozen=True)
class ColorTransform(Enhancement):
    """The plain form is the grey picture."""


@dataclass(frozen=True)
class Sharpness(Enhancement):
    """The plain form is blurred."""


@dataclass(frozen=True)
class Cutout(Operation):
    """Filling a box, (height, width) or a square of one side in pixels, at a random place with `pad_val`."""

    shape: float | tuple[float, float]
    pad_val: float | tuple[float, ...] = 128

    def _problems(self) -> list[str]:
        problems = super()._problems() + byte_problems("pad_val", self.pad_val)
        sides: Any = self.shape if is_numbers(self.shape, 2) else (self.shape,)
        if not all(is_number(side) and side >= 0 for side in sides):
            problems.append(f"shape is {shown(self.shape)}, but pixels or [height, width] are expected")
        return problems


OPERATIONS: tuple[type[Operation], ...] = (
    AutoContrast,
    Brightness,
    ColorTransform,
    Contrast,
    Cutout,
    Equalize,
    Invert,
    Posterize,
    Rotate,
    Sharpness,
    Shear,
    Solarize,
    SolarizeAdd,
    Translate,
)
