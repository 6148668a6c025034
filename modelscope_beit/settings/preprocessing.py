"""The steps from a picture to the network's input, as mmcls 0.x spells them in `preprocessor.val`. No pixels here.

Each step is a frozen dataclass with the name, the keys and the defaults of the mmcls transform; making one raises
SettingsError that lists every value that cannot be used. Source: mmcls 0.25.0,
datasets/pipelines/{loading,transforms,formatting}.py. What they do to a picture: images/evaluation_transform.py.
Two values are ours, for the pixels of transformers' processors, and mmcls itself refuses them: the backend
"torchvision" and CenterCrop's `round_down`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import plain, shown
from modelscope_beit.settings.step_values import (
    PADDING_MODES,
    StepSettings,
    choice_problems,
    flag_problems,
    is_number,
    is_pair,
    is_size,
    is_triple,
    is_whole,
    read_step,
    resampling_problems,
    tupled,
)

ADAPTIVE_SIDES = ("short", "long", "height", "width")


@dataclass(frozen=True)
class LoadImageFromFile(StepSettings):
    """The reading of the file. Its keys are passed over: pictures are read upright and in colour before the steps.

    ModelScope's stock preprocessor removes this step too.
    """

    changes_pixels = False


@dataclass(frozen=True)
class Resize(StepSettings):
    """Resizing.

    size: one number is (number, number), whatever the aspect ratio; (height, width) in pixels is taken as it is;
        (side, -1) keeps the aspect ratio and makes `adaptive_side` that long.
    backend: the library whose pixels come out, a key of step_values.INTERPOLATIONS.
    """

    size: int | tuple[int, int]
    interpolation: str = "bilinear"
    adaptive_side: str = "short"
    backend: str = "cv2"

    def __post_init__(self) -> None:
        problems = resampling_problems(self.backend, self.interpolation)
        if not (is_size(self.size) or _is_adaptive(self.size)):
            problems.append(f"size is {shown(self.size)}, but pixels, [height, width] or [side, -1] are expected")
        problems += choice_problems("adaptive_side", self.adaptive_side, ADAPTIVE_SIDES)
        self.refuse(problems)


@dataclass(frozen=True)
class CenterCrop(StepSettings):
    """Cutting out the middle; a picture that is smaller stays as it is.

    crop_size: one number, or (height, width) in pixels.
    efficientnet_style: cut out the share crop_size / (crop_size + crop_padding) of the short side, then resize
        that to crop_size. Only then do crop_padding, interpolation and backend count.
    round_down: where an odd number of pixels is cut off, the smaller half lies above and at the left, as in
        transformers; mmcls rounds half of it to the even number.
    """

    crop_size: int | tuple[int, int]
    efficientnet_style: bool = False
    crop_padding: int = 32
    interpolation: str = "bilinear"
    backend: str = "cv2"
    round_down: bool = False

    def __post_init__(self) -> None:
        problems = flag_problems("efficientnet_style", self.efficientnet_style)
        problems += flag_problems("round_down", self.round_down)
        if not is_size(self.crop_size):
            problems.append(f"crop_size is {shown(self.crop_size)}, but pixels or [height, width] are expected")
        if self.efficientnet_style is True:
            problems += resampling_problems(self.backend, self.interpolation)
            if not isinstance(self.crop_size, int):
                problems.append("efficientnet_style expects one number as crop_size")
            if not is_whole(self.crop_padding) or self.crop_padding < 0:
                problems.append(f"crop_padding is {shown(self.crop_padding)}, but 0 or more pixels are expected")
        self.refuse(problems)

    def may_follow_normalize(self) -> bool:
        """Tells whether it treats a normalised picture as mmcls does; resizing does not."""
        return not self.efficientnet_style


@dataclass(frozen=True)
class Pad(StepSettings):
    """Padding at the bottom and at the right, to `size` (height, width) in pixels or to a square.

    pad_val: one number or three, for `padding_mode` "constant", in the channel order that the picture has then:
        blue, green, red before Normalize. One number fills the first channel and leaves the others 0, as OpenCV's
        copyMakeBorder does.
    """

    size: tuple[int, int] | None = None
    pad_to_square: bool = False
    pad_val: float | tuple[float, ...] = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        problems = flag_problems("pad_to_square", self.pad_to_square)
        if self.size is not None and not (is_pair(self.size) and is_size(self.size)):
            problems.append(f"size is {shown(self.size)}, but [height, width] in pixels is expected")
        if (self.size is None) == (self.pad_to_square is False):
            problems.append("exactly one of size and pad_to_square is expected")
        if not (is_number(self.pad_val) or is_triple(self.pad_val)):
            problems.append(f"pad_val is {shown(self.pad_val)}, but one number or three are expected")
        problems += choice_problems("padding_mode", self.padding_mode, PADDING_MODES)
        self.refuse(problems)

    def may_follow_normalize(self) -> bool:
        """Tells that it may, as far as the order goes."""
        return True


@dataclass(frozen=True)
class Normalize(StepSettings):
    """(pixel - mean) / std, channel by channel, for pixels from 0 to 255.

    to_rgb: mean, std and the network's input have the order red, green, blue; otherwise blue, green, red.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool = True

    def __post_init__(self) -> None:
        problems = flag_problems("to_rgb", self.to_rgb)
        if not is_triple(self.mean):
            problems.append(f"mean is {shown(self.mean)}, but three numbers, one a channel, are expected")
        if not (is_triple(self.std) and min(self.std) > 0):
            problems.append(f"std is {shown(self.std)}, but three numbers above 0, one a channel, are expected")
        self.refuse(problems)

    def may_follow_normalize(self) -> bool:
        """Tells that it may, as far as the order goes."""
        return True


@dataclass(frozen=True)
class ImageToTensor(StepSettings):
    """(H, W, 3) to (3, H, W)."""

    changes_pixels = False
    keys: tuple[str, ...] = ("img",)

    def __post_init__(self) -> None:
        """Raises SettingsError if the picture, "img", is not among the keys."""
        self.refuse(_picture_key_problems(self.keys))


@dataclass(frozen=True)
class ToTensor(StepSettings):
    """Labels to tensors; nothing that prediction has."""

    changes_pixels = False
    keys: tuple[str, ...] = ("gt_label",)

    def __post_init__(self) -> None:
        self.refuse([] if _are_names(self.keys) else [f"keys is {shown(self.keys)}, but a list of names is expected"])


@dataclass(frozen=True)
class Collect(StepSettings):
    """Choice of what the data loader passes on."""

    changes_pixels = False
    keys: tuple[str, ...] = ("img",)

    def __post_init__(self) -> None:
        """Raises SettingsError if the picture, "img", is not among the keys."""
        self.refuse(_picture_key_problems(self.keys))


Step = LoadImageFromFile | Resize | CenterCrop | Pad | Normalize | ImageToTensor | ToTensor | Collect

EVALUATION_KINDS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (LoadImageFromFile, Resize, CenterCrop, Pad, Normalize, ImageToTensor, ToTensor, Collect)
}


def read_steps(steps: Sequence[Mapping[str, object]], where: str) -> tuple[Step, ...]:
    """Returns the steps of an mm list, e.g. of `preprocessor.val`.

    steps: mappings with a "type"; lists and tuples mean the same.
    where: the key path of the list, for messages. Raises SettingsError that lists every unknown step, unknown key and
    unusable value, and every order that does not end in a normalised (3, H, W) tensor.
    """
    if isinstance(steps, str | Mapping) or not isinstance(steps, Sequence):
        raise SettingsError(
            f"{where} is {shown(steps)}, but a list of steps such as {{'type': 'Resize', ...}} is expected."
        )
    problems: list[str] = []
    read: list[Step | None] = []
    for index, mapping in enumerate(steps):
        try:
            read.append(read_step(mapping, EVALUATION_KINDS, "evaluation"))
        except SettingsError as error:
            read.append(None)
            problems.append(f"{where}[{index}] {error}")
    # A step that could not be read may be the one that is missing, so absence is judged by name.
    named = [str(mapping.get("type")) if isinstance(mapping, Mapping) else "" for mapping in steps]
    problems += order_problems(named, read, where)
    if problems:
        raise SettingsError("\n- ".join([f"The steps under {where} cannot be used as they are:", *problems]))
    return tuple(step for step in read if step is not None)


def check_order(steps: Sequence[Step]) -> None:
    """Raises SettingsError if the steps, in this order, do not make a normalised (3, H, W) tensor of a picture."""
    problems = order_problems([type(step).__name__ for step in steps], steps, "steps")
    if problems:
        raise SettingsError("\n- ".join(["These steps do not make a normalised picture:", *problems]))


def order_problems(names: Sequence[str], steps: Sequence[StepSettings | None], where: str) -> list[str]:
    """Returns what keeps the steps, in this order, from making a normalised (3, H, W) tensor of a picture.

    names: their types; None among the steps stands for one that could not be read. where: their key path.
    """
    problems = []
    if names.count("Normalize") != 1:
        problems.append(f"{where} must have exactly one Normalize, but has {names.count('Normalize')}")
    if "ImageToTensor" not in names:
        problems.append(f"{where} must have {{'type': 'ImageToTensor', 'keys': ['img']}} after the last pixel step")
    normalized = names.index("Normalize") if "Normalize" in names else len(names)
    tensor = names.index("ImageToTensor") if "ImageToTensor" in names else len(names)
    for index, step in enumerate(steps):
        place = f"{where}[{index}] {names[index]}"
        if isinstance(step, LoadImageFromFile) and index > 0:
            problems.append(f"{place}: reading the file can only be the first step")
        if step is not None and step.changes_pixels and index > tensor:
            problems.append(f"{place}: must come before ImageToTensor")
        elif step is not None and index > normalized and not step.may_follow_normalize():
            problems.append(f"{place}: must come before Normalize")
        if isinstance(step, ToTensor) and "img" in step.keys and index < tensor:
            problems.append(f"{place}: 'img' becomes a tensor by ImageToTensor; remove it from keys")
    return problems


def write_steps(steps: Iterable[Step]) -> list[dict[str, object]]:
    """Returns the mm list; values that are mmcls's defaults are left out. read_steps reads the same steps back."""
    return [_written(step) for step in steps]


def evaluation_steps(
    image_size: int | tuple[int, int],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    crop_pct: float | None = None,
    resize: int | None = None,
    interpolation: str = "bicubic",
    squash: bool = False,
) -> tuple[Step, ...]:
    """Returns the usual steps: Pillow resizing, centre crop, normalisation of RGB.

    image_size: side or (height, width) of the network's input in pixels. mean, std: for pixels from 0 to 255.
    crop_pct: share of the resized side that the crop keeps, as timm's; resize: that side in pixels instead. Without
    either, nothing is cut off but what is not square.
    squash: resize both sides, whatever the aspect ratio, before the crop.
    Raises SettingsError if both crop_pct and resize are given, or if a value cannot be used.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if crop_pct is not None and resize is not None:
        raise SettingsError(f"Give crop_pct ({crop_pct}) or resize ({resize}), not both.")
    if crop_pct is not None and not 0 < crop_pct <= 1:
        raise SettingsError(f"crop_pct must be above 0 and at most 1, not {crop_pct}.")
    share = crop_pct or 1.0
    side = resize or math.floor(max(height, width) / share)
    size = (side, -1)
    if squash and resize is None:
        size = (math.floor(height / share), math.floor(width / share))
    elif squash:
        size = (side * height // max(height, width), side * width // max(height, width))
    # One number where one is enough: stock mmcls takes no JSON list as crop_size.
    crop = CenterCrop(height if height == width else (height, width))
    return (
        LoadImageFromFile(),
        Resize(size, interpolation=interpolation, backend="pillow"),
        *(() if size == (height, width) else (crop,)),
        Normalize(tupled(list(mean)), tupled(list(std))),
        ImageToTensor(),
        Collect(),
    )


def _written(step: Step) -> dict[str, object]:
    written: dict[str, object] = {"type": type(step).__name__}
    for entry in fields(step):
        value = getattr(step, entry.name)
        # mmcls has no default for `keys`.
        if entry.name != "extra" and (entry.name == "keys" or value != entry.default):
            written[entry.name] = plain(value)
    return written | step.extra


def _picture_key_problems(keys: tuple[str, ...]) -> list[str]:
    return [] if _are_names(keys) and "img" in keys else [f"keys is {shown(keys)}, but a list with 'img' is expected"]


def _is_adaptive(value: Any) -> bool:
    return is_pair(value) and value[0] > 0 and value[1] == -1


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)
