"""The steps from a picture to the network's input, as mmcls 0.x spells them in `preprocessor.val`. No pixels here.

Each step is a frozen dataclass with the name, the keys and the defaults of the mmcls transform; making one raises
SettingsError that lists every value that cannot be used. Source: mmcls 0.25.0,
datasets/pipelines/{loading,transforms,formatting}.py. What they do to a picture: images/evaluation_transform.py.
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import plain, shown

# Names of resampling filters that each resizing library has, in mmcv's spelling.
INTERPOLATIONS = {
    "cv2": ("nearest", "bilinear", "bicubic", "area", "lanczos"),
    "pillow": ("nearest", "bilinear", "bicubic", "box", "lanczos", "hamming"),
}
ADAPTIVE_SIDES = ("short", "long", "height", "width")
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


@dataclass(frozen=True, kw_only=True)
class _Step:
    """extra: keys of the folder's own file that change no pixel; they are written back as they came."""

    extra: dict[str, object] = field(default_factory=dict, hash=False)

    def _refuse(self, problems: Iterable[str]) -> None:
        if found := "; ".join(problems):
            raise SettingsError(f"{type(self).__name__}: {found}.")


@dataclass(frozen=True)
class LoadImageFromFile(_Step):
    """The reading of the file. Its keys are passed over: pictures are read upright and in colour before the steps.

    ModelScope's stock preprocessor removes this step too.
    """


@dataclass(frozen=True)
class Resize(_Step):
    """Resizing.

    size: one number is (number, number), whatever the aspect ratio; (height, width) in pixels is taken as it is;
        (side, -1) keeps the aspect ratio and makes `adaptive_side` that long.
    """

    size: int | tuple[int, int]
    interpolation: str = "bilinear"
    adaptive_side: str = "short"
    backend: str = "cv2"

    def __post_init__(self) -> None:
        problems = _resampling_problems(self.backend, self.interpolation)
        if not (_is_size(self.size) or _is_adaptive(self.size)):
            problems.append(f"size is {shown(self.size)}, but pixels, [height, width] or [side, -1] are expected")
        problems += _choice_problems("adaptive_side", self.adaptive_side, ADAPTIVE_SIDES)
        self._refuse(problems)


@dataclass(frozen=True)
class CenterCrop(_Step):
    """Cutting out the middle; a picture that is smaller stays as it is.

    crop_size: one number, or (height, width) in pixels.
    efficientnet_style: cut out the share crop_size / (crop_size + crop_padding) of the short side, then resize
        that to crop_size. Only then do crop_padding, interpolation and backend count.
    """

    crop_size: int | tuple[int, int]
    efficientnet_style: bool = False
    crop_padding: int = 32
    interpolation: str = "bilinear"
    backend: str = "cv2"

    def __post_init__(self) -> None:
        problems = _flag_problems("efficientnet_style", self.efficientnet_style)
        if not _is_size(self.crop_size):
            problems.append(f"crop_size is {shown(self.crop_size)}, but pixels or [height, width] are expected")
        if self.efficientnet_style is True:
            problems += _resampling_problems(self.backend, self.interpolation)
            if not isinstance(self.crop_size, int):
                problems.append("efficientnet_style expects one number as crop_size")
            if not _is_whole(self.crop_padding) or self.crop_padding < 0:
                problems.append(f"crop_padding is {shown(self.crop_padding)}, but 0 or more pixels are expected")
        self._refuse(problems)


@dataclass(frozen=True)
class Pad(_Step):
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
        problems = _flag_problems("pad_to_square", self.pad_to_square)
        if self.size is not None and not (_is_pair(self.size) and _is_size(self.size)):
            problems.append(f"size is {shown(self.size)}, but [height, width] in pixels is expected")
        if (self.size is None) == (self.pad_to_square is False):
            problems.append("exactly one of size and pad_to_square is expected")
        if not (_is_number(self.pad_val) or _is_triple(self.pad_val)):
            problems.append(f"pad_val is {shown(self.pad_val)}, but one number or three are expected")
        problems += _choice_problems("padding_mode", self.padding_mode, PADDING_MODES)
        self._refuse(problems)


@dataclass(frozen=True)
class Normalize(_Step):
    """(pixel - mean) / std, channel by channel, for pixels from 0 to 255.

    to_rgb: mean, std and the network's input have the order red, green, blue; otherwise blue, green, red.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool = True

    def __post_init__(self) -> None:
        problems = _flag_problems("to_rgb", self.to_rgb)
        if not _is_triple(self.mean):
            problems.append(f"mean is {shown(self.mean)}, but three numbers, one a channel, are expected")
        if not (_is_triple(self.std) and min(self.std) > 0):
            problems.append(f"std is {shown(self.std)}, but three numbers above 0, one a channel, are expected")
        self._refuse(problems)


@dataclass(frozen=True)
class ImageToTensor(_Step):
    """(H, W, 3) to (3, H, W)."""

    keys: tuple[str, ...] = ("img",)

    def __post_init__(self) -> None:
        """Raises SettingsError if the picture, "img", is not among the keys."""
        self._refuse(_picture_key_problems(self.keys))


@dataclass(frozen=True)
class ToTensor(_Step):
    """Labels to tensors; nothing that prediction has."""

    keys: tuple[str, ...] = ("gt_label",)

    def __post_init__(self) -> None:
        self._refuse([] if _are_names(self.keys) else [f"keys is {shown(self.keys)}, but a list of names is expected"])


@dataclass(frozen=True)
class Collect(_Step):
    """Choice of what the data loader passes on."""

    keys: tuple[str, ...] = ("img",)

    def __post_init__(self) -> None:
        """Raises SettingsError if the picture, "img", is not among the keys."""
        self._refuse(_picture_key_problems(self.keys))


Step = LoadImageFromFile | Resize | CenterCrop | Pad | Normalize | ImageToTensor | ToTensor | Collect

_KINDS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (LoadImageFromFile, Resize, CenterCrop, Pad, Normalize, ImageToTensor, ToTensor, Collect)
}
# The steps of which any key that is not known could change pixels.
_PIXEL_STEPS = (Resize, CenterCrop, Pad, Normalize)


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
            read.append(_read_step(mapping))
        except SettingsError as error:
            read.append(None)
            problems.append(f"{where}[{index}] {error}")
    # A step that could not be read may be the one that is missing, so absence is judged by name.
    named = [str(mapping.get("type")) if isinstance(mapping, Mapping) else "" for mapping in steps]
    problems += _order_problems(named, read, where)
    if problems:
        raise SettingsError("\n- ".join([f"The steps under {where} cannot be used as they are:", *problems]))
    return tuple(step for step in read if step is not None)


def check_order(steps: Sequence[Step]) -> None:
    """Raises SettingsError if the steps, in this order, do not make a normalised (3, H, W) tensor of a picture."""
    problems = _order_problems([type(step).__name__ for step in steps], steps, "steps")
    if problems:
        raise SettingsError("\n- ".join(["These steps do not make a normalised picture:", *problems]))


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
        Normalize(_tupled(list(mean)), _tupled(list(std))),
        ImageToTensor(),
        Collect(),
    )


def _read_step(mapping: object) -> Step:
    if not isinstance(mapping, Mapping) or not isinstance(mapping.get("type"), str):
        raise SettingsError(f"is {shown(mapping)}, but a mapping with the name of a step under 'type' is expected.")
    name = mapping["type"]
    if name not in _KINDS:
        raise SettingsError(f"is of type {name!r}, which is no step of evaluation; {_nearest(name, _KINDS)}.")
    kind = _KINDS[name]
    known = {entry.name: entry for entry in fields(kind) if entry.name != "extra"}
    given = {key: value for key, value in mapping.items() if key != "type"}
    extra = {key: plain(value) for key, value in given.items() if key not in known}
    problems = []
    if kind in _PIXEL_STEPS:
        strange = [key for key in extra if not str(key).startswith("_")]
        problems += [f"nobody knows the key {key!r}; {_nearest(key, known)}" for key in strange]
    problems += [f"{key} is missing" for key, entry in known.items() if entry.default is MISSING and key not in given]
    try:
        step = kind(**{key: _tupled(given[key]) for key in known if key in given}, extra=extra)
    except SettingsError as error:
        problems.append(str(error).removeprefix(f"{name}: ").removesuffix("."))
    except TypeError:
        # A required key is missing, which is among the problems already.
        assert problems, f"{name} could not be made of {sorted(given)}"
    if problems:
        raise SettingsError(f"{name}: {'; '.join(problems)}.")
    return step


def _order_problems(names: Sequence[str], steps: Sequence[Step | None], where: str) -> list[str]:
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
        if isinstance(step, _PIXEL_STEPS) and index > tensor:
            problems.append(f"{place}: must come before ImageToTensor")
        elif index > normalized and (
            isinstance(step, Resize) or isinstance(step, CenterCrop) and step.efficientnet_style
        ):
            problems.append(f"{place}: resizing must come before Normalize")
        if isinstance(step, ToTensor) and "img" in step.keys and index < tensor:
            problems.append(f"{place}: 'img' becomes a tensor by ImageToTensor; remove it from keys")
    return problems


def _written(step: Step) -> dict[str, object]:
    written: dict[str, object] = {"type": type(step).__name__}
    for entry in fields(step):
        value = getattr(step, entry.name)
        # mmcls has no default for `keys`.
        if entry.name != "extra" and (entry.name == "keys" or value != entry.default):
            written[entry.name] = plain(value)
    return written | step.extra


def _resampling_problems(backend: object, interpolation: object) -> list[str]:
    problems = _choice_problems("backend", backend, tuple(INTERPOLATIONS))
    if not problems:
        problems += _choice_problems(f"interpolation (backend {backend})", interpolation, INTERPOLATIONS[str(backend)])
    return problems


def _choice_problems(name: str, value: object, choices: tuple[str, ...]) -> list[str]:
    return [] if value in choices else [f"{name} is {shown(value)}, but one of {', '.join(choices)} is expected"]


def _flag_problems(name: str, value: object) -> list[str]:
    return [] if isinstance(value, bool) else [f"{name} is {shown(value)}, but true or false is expected"]


def _picture_key_problems(keys: tuple[str, ...]) -> list[str]:
    return [] if _are_names(keys) and "img" in keys else [f"keys is {shown(keys)}, but a list with 'img' is expected"]


def _nearest(name: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_whole, value))


def _is_adaptive(value: Any) -> bool:
    return _is_pair(value) and value[0] > 0 and value[1] == -1


def _is_triple(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(map(_is_number, value))


def _is_size(value: Any) -> bool:
    return _is_whole(value) and value > 0 or _is_pair(value) and min(value) > 0


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _tupled(value: object) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value
