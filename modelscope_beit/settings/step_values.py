"""What the steps of every mm list share: how one is read, and the checks of its values."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import plain, shown

# Names of resampling filters that each resizing library has, in mmcv's spelling. mmcv knows the first two libraries;
# "torchvision" is ours: bytes resized as tensors with antialiasing, which is what transformers 5 does.
INTERPOLATIONS = {
    "cv2": ("nearest", "bilinear", "bicubic", "area", "lanczos"),
    "pillow": ("nearest", "bilinear", "bicubic", "box", "lanczos", "hamming"),
    "torchvision": ("nearest", "bilinear", "bicubic", "lanczos"),
}
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """One step: the name, the keys and the defaults of the mmcls transform. Making one checks its values.

    changes_pixels: a key that nobody knows could change the picture, so it is refused.
    extra: keys of the folder's own file that change no pixel; they are written back as they came.
    """

    changes_pixels: ClassVar[bool] = True
    extra: dict[str, object] = field(default_factory=dict, hash=False)

    def may_follow_normalize(self) -> bool:
        """Tells whether the step treats a normalised picture as mmcls does."""
        return not self.changes_pixels

    def refuse(self, problems: Iterable[str]) -> None:
        """Raises SettingsError that lists the problems, if there are any."""
        if found := "; ".join(problems):
            raise SettingsError(f"{type(self).__name__}: {found}.")


AnyStep = TypeVar("AnyStep", bound=StepSettings)


def read_step(mapping: object, kinds: Mapping[str, type[AnyStep]], purpose: str) -> AnyStep:
    """Returns the step that an mm mapping spells.

    kinds: name under "type" -> its dataclass. purpose: what the list is for, as a noun, e.g. "evaluation".
    Raises SettingsError that lists every problem; the sentence continues one that names the mapping's place.
    """
    if not isinstance(mapping, Mapping) or not isinstance(mapping.get("type"), str):
        raise SettingsError(f"is {shown(mapping)}, but a mapping with the name of a step under 'type' is expected.")
    name = mapping["type"]
    if name not in kinds:
        raise SettingsError(f"is of type {name!r}, which is no step of {purpose}; {nearest(name, kinds)}.")
    kind = kinds[name]
    known = {entry.name: entry for entry in fields(kind) if entry.name != "extra"}
    given = {key: value for key, value in mapping.items() if key != "type"}
    extra = {key: plain(value) for key, value in given.items() if key not in known}
    problems = []
    if kind.changes_pixels:
        strange = [key for key in extra if not str(key).startswith("_")]
        problems += [f"nobody knows the key {key!r}; {nearest(key, known)}" for key in strange]
    problems += [f"{key} is missing" for key, entry in known.items() if entry.default is MISSING and key not in given]
    try:
        step = kind(**{key: tupled(given[key]) for key in known if key in given}, extra=extra)
    except SettingsError as error:
        problems.append(str(error).removeprefix(f"{name}: ").removesuffix("."))
    except TypeError:
        # A required key is missing, which is among the problems already.
        assert problems, f"{name} could not be made of {sorted(given)}"
    if problems:
        raise SettingsError(f"{name}: {'; '.join(problems)}.")
    return step


def resampling_problems(backend: object, interpolation: object) -> list[str]:
    """Returns what is wrong with a resizing library and the name of one of its filters."""
    problems = choice_problems("backend", backend, tuple(INTERPOLATIONS))
    if not problems:
        problems += choice_problems(f"interpolation (backend {backend})", interpolation, INTERPOLATIONS[str(backend)])
    return problems


def choice_problems(name: str, value: object, choices: tuple[str, ...]) -> list[str]:
    """Returns a problem unless the value is one of the choices."""
    return [] if value in choices else [f"{name} is {shown(value)}, but one of {', '.join(choices)} is expected"]


def flag_problems(name: str, value: object) -> list[str]:
    """Returns a problem unless the value is true or false."""
    return [] if isinstance(value, bool) else [f"{name} is {shown(value)}, but true or false is expected"]


def share_problems(**values: Any) -> list[str]:
    """Returns a problem for each value, given by its name, that is no number from 0 to 1."""
    return [
        f"{name} is {shown(value)}, but a number from 0 to 1 is expected"
        for name, value in values.items()
        if not (is_number(value) and 0 <= value <= 1)
    ]


def number_problems(**values: Any) -> list[str]:
    """Returns a problem for each value, given by its name, that is no finite number."""
    return [
        f"{name} is {shown(value)}, but a number is expected" for name, value in values.items() if not is_number(value)
    ]


def range_problems(name: str, value: Any, *, above: float) -> list[str]:
    """Returns a problem unless the value is (smallest, largest), both greater than `above`."""
    if is_numbers(value, 2) and above < value[0] <= value[1]:
        return []
    return [f"{name} is {shown(value)}, but [smallest, largest], both above {above}, are expected"]


def byte_problems(name: str, value: Any) -> list[str]:
    """Returns a problem unless the value is one number from 0 to 255, or three of them."""
    numbers = value if is_triple(value) else (value,)
    if all(is_number(number) and 0 <= number <= 255 for number in numbers):
        return []
    return [f"{name} is {shown(value)}, but one number or three, from 0 to 255, are expected"]


def nearest(name: object, known: Iterable[str]) -> str:
    """Returns a hint at the known name that is most like `name`."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def is_whole(value: object) -> bool:
    """Tells whether the value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tells whether the value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_numbers(value: Any, count: int) -> bool:
    """Tells whether the value is a tuple of so many finite numbers."""
    return isinstance(value, tuple) and len(value) == count and all(map(is_number, value))


def is_triple(value: Any) -> bool:
    """Tells whether the value is a tuple of three finite numbers, one a channel."""
    return is_numbers(value, 3)


def is_pair(value: Any) -> bool:
    """Tells whether the value is a tuple of two whole numbers."""
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_whole, value))


def is_size(value: Any) -> bool:
    """Tells whether the value is a side or (height, width) in pixels, at least 1."""
    return is_whole(value) and value > 0 or is_pair(value) and min(value) > 0


def tupled(value: object) -> Any:
    """Returns the value with every list in it, at any depth, made a tuple."""
    return tuple(tupled(item) for item in value) if isinstance(value, list | tuple) else value
