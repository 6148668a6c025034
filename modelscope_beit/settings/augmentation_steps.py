"""The steps with chance, as mmcls 0.x spells them in `preprocessor.train`. No pixels here.

Each is a frozen dataclass with the name, the keys and the defaults of the mmcls transform; making one raises
SettingsError that lists every value that cannot be used. Source: mmcls 0.25.0, datasets/pipelines/transforms.py.
What they do to a picture: images/training_transform.py.
"""

from dataclasses import dataclass
from typing import Any

from modelscope_beit.settings.problems import shown
from modelscope_beit.settings.step_values import (
    PADDING_MODES,
    StepSettings,
    byte_problems,
    choice_problems,
    flag_problems,
    is_number,
    is_numbers,
    is_size,
    is_triple,
    is_whole,
    range_problems,
    resampling_problems,
    share_problems,
)

FLIP_DIRECTIONS = ("horizontal", "vertical", "diagonal")
ERASING_MODES = ("const", "rand")


@dataclass(frozen=True)
class RandomResizedCrop(StepSettings):
    """Cutting out a box of random area and proportions, resized to `size`; a box in the middle if none was found.

    size: one number, or (height, width) in pixels. scale: smallest and largest share of the picture's area.
    ratio: smallest and largest width / height of the box. max_attempts: boxes to try.
    efficientnet_style: draw the height after the proportions. Only then do min_covered (smallest share of the area)
        and crop_padding (see CenterCrop; for the box in the middle) count.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    max_attempts: int = 10
    efficientnet_style: bool = False
    min_covered: float = 0.1
    crop_padding: int = 32
    interpolation: str = "bilinear"
    backend: str = "cv2"

    def __post_init__(self) -> None:
        problems = resampling_problems(self.backend, self.interpolation)
        if not is_size(self.size):
            problems.append(f"size is {shown(self.size)}, but pixels or [height, width] are expected")
        problems += range_problems("scale", self.scale, above=0) + range_problems("ratio", self.ratio, above=0)
        problems += flag_problems("efficientnet_style", self.efficientnet_style)
        if self.efficientnet_style is True and not is_whole(self.size):
            problems.append("efficientnet_style expects one number as size")
        for name, value in (("max_attempts", self.max_attempts), ("crop_padding", self.crop_padding)):
            if not is_whole(value) or value < 0:
                problems.append(f"{name} is {shown(value)}, but a whole number, 0 or more, is expected")
        self.refuse(problems + share_problems(min_covered=self.min_covered))


@dataclass(frozen=True)
class RandomCrop(StepSettings):
    """Cutting out a box of `size` at a random place.

    size: one number, or (height, width) in pixels.
    padding: pixels added first: at every side, (left and right, top and bottom) or (left, top, right, bottom).
        mmcls fills them with pad_val, whatever padding_mode is.
    pad_if_needed: a picture that is smaller then gets what it lacks at both sides, filled as padding_mode says.
    pad_val: as for Pad.
    """

    size: int | tuple[int, int]
    padding: int | tuple[int, ...] | None = None
    pad_if_needed: bool = False
    pad_val: float | tuple[float, ...] = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        problems = flag_problems("pad_if_needed", self.pad_if_needed)
        if not is_size(self.size):
            problems.append(f"size is {shown(self.size)}, but pixels or [height, width] are expected")
        if self.padding is not None and not _is_padding(self.padding):
            problems.append(f"padding is {shown(self.padding)}, but 1, 2 or 4 whole numbers, 0 or more, are expected")
        if not (is_number(self.pad_val) or is_triple(self.pad_val)):
            problems.append(f"pad_val is {shown(self.pad_val)}, but one number or three are expected")
        self.refuse(problems + choice_problems("padding_mode", self.padding_mode, PADDING_MODES))

    def may_follow_normalize(self) -> bool:
        """Tells that it may."""
        return True


@dataclass(frozen=True)
class RandomFlip(StepSettings):
    """Mirroring with the probability `flip_prob`."""

    flip_prob: float = 0.5
    direction: str = "horizontal"

    def __post_init__(self) -> None:
        problems = share_problems(flip_prob=self.flip_prob)
        self.refuse(problems + choice_problems("direction", self.direction, FLIP_DIRECTIONS))

    def may_follow_normalize(self) -> bool:
        """Tells that it may."""
        return True


@dataclass(frozen=True)
class RandomGrayscale(StepSettings):
    """Taking the colour out with the probability `gray_prob`."""

    gray_prob: float = 0.1

    def __post_init__(self) -> None:
        self.refuse(share_problems(gray_prob=self.gray_prob))


@dataclass(frozen=True)
class ColorJitter(StepSettings):
    """Brightness, contrast and saturation, in random order, each changed by a factor from 1 - x to 1 + x."""

    brightness: float
    contrast: float
    saturation: float

    def __post_init__(self) -> None:
        given = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        self.refuse(
            f"{name} is {shown(value)}, but a number, 0 or more, is expected"
            for name, value in given.items()
            if not is_number(value) or value < 0
        )


@dataclass(frozen=True)
class Lighting(StepSettings):
    """Light of a random colour along the main axes of the pixels' colours (AlexNet's).

    eigval: (n,) and eigvec: (3, n) of the covariance of the channels, in the order that `to_rgb` tells.
    alphastd: standard deviation of the shares.
    to_rgb: mmcls turns blue, green, red into red, green, blue here; Normalize must then not do it again.
    """

    eigval: tuple[float, ...]
    eigvec: tuple[tuple[float, ...], ...]
    alphastd: float = 0.1
    to_rgb: bool = True

    def __post_init__(self) -> None:
        problems = flag_problems("to_rgb", self.to_rgb)
        count = len(self.eigval) if isinstance(self.eigval, tuple) else 0
        if not (count and is_numbers(self.eigval, count)):
            problems.append(f"eigval is {shown(self.eigval)}, but a list of numbers is expected")
        rows = self.eigvec if isinstance(self.eigvec, tuple) else ()
        if not (len(rows) == 3 and all(is_numbers(row, count) for row in rows)):
            problems.append(
                f"eigvec is {shown(self.eigvec)}, but three lists, each as long as eigval ({count}), are expected"
            )
        if not is_number(self.alphastd) or self.alphastd < 0:
            problems.append(f"alphastd is {shown(self.alphastd)}, but a number, 0 or more, is expected")
        self.refuse(problems)


@dataclass(frozen=True)
class RandomErasing(StepSettings):
    """Filling a box of random area and proportions with the probability `erase_prob`.

    min_area_ratio, max_area_ratio: shares of the picture's area.
    aspect_range: smallest and largest height / width; one number is (number, 1 / number) or the reverse.
    mode: "const" fills with fill_color; "rand" gives each value of each pixel its own, uniform from 0 to 255 or, with
        fill_std, normal around fill_color.
    fill_color, fill_std: one number or three, in the channel order that the picture has then: blue, green, red before
        Normalize. Both are rounded down and kept within 0 and 255.
    """

    erase_prob: float = 0.5
    min_area_ratio: float = 0.02
    max_area_ratio: float = 0.4
    aspect_range: float | tuple[float, float] = (3 / 10, 10 / 3)
    mode: str = "const"
    fill_color: float | tuple[float, ...] = (128, 128, 128)
    fill_std: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        shares = {"min_area_ratio": self.min_area_ratio, "max_area_ratio": self.max_area_ratio}
        problems = share_problems(erase_prob=self.erase_prob, **shares)
        if not problems and self.min_area_ratio > self.max_area_ratio:
            problems.append(f"min_area_ratio {self.min_area_ratio} is above max_area_ratio {self.max_area_ratio}")
        # One number above 0 is a range as well.
        aspects = (self.aspect_range, self.aspect_range) if is_number(self.aspect_range) else self.aspect_range
        problems += range_problems("aspect_range", aspects, above=0)
        problems += choice_problems("mode", self.mode, ERASING_MODES) + byte_problems("fill_color", self.fill_color)
        if self.fill_std is not None:
            stds: Any = self.fill_std if is_triple(self.fill_std) else (self.fill_std,)
            if not all(is_number(number) and number >= 0 for number in stds):
                problems.append(f"fill_std is {shown(self.fill_std)}, but one number or three, 0 or more, are expected")
        self.refuse(problems)

    def may_follow_normalize(self) -> bool:
        """Tells that it may."""
        return True


def _is_padding(value: Any) -> bool:
    numbers = value if isinstance(value, tuple) else (value,)
    return len(numbers) in (1, 2, 4) and all(is_whole(number) and number >= 0 for number in numbers)
