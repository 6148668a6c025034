"""Lists of steps of which mmcls has to make at least one: then it makes all of them, and so nothing is judged here."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from modelscope_beit.settings.preprocessing import Step, read_steps, write_steps
from modelscope_beit.settings.problems import Problems, plain
from modelscope_beit.settings.training_steps import NATIVE_STEPS, TrainingStep, read_training_steps

# What mmcls 0.25 registers and we do not have. Other names are its users' own transforms, or slips of the pen.
_STEPS_OF_MMCLS = frozenset(("Albu", "Compose", "ToHalf", "ToNumpy", "ToPIL", "Transpose"))
# How alike a name must be to one of ours to be taken for a slip of the pen; of 1.
_ALIKE = 0.75
_USUAL_SIDE = 224


@dataclass(frozen=True)
class ForeignSteps:
    """Steps from a picture to the network's input that mmcls makes.

    steps: all of them, as they were written. reasons: sentences on why they are not native.
    """

    steps: tuple[dict[str, object], ...]
    reasons: tuple[str, ...]


Preprocessing = tuple[Step, ...] | ForeignSteps
Augmentation = tuple[TrainingStep, ...] | ForeignSteps


def read_preprocessing(steps: Sequence[Mapping[str, object]], where: str) -> Preprocessing:
    """Returns the steps of prediction and evaluation; see read_steps, which raises SettingsError."""
    return _foreign(steps, where) or read_steps(steps, where)


def read_augmentation(steps: Sequence[Mapping[str, object]], where: str, problems: Problems) -> Augmentation:
    """Returns the steps of training; see read_training_steps."""
    return _foreign(steps, where) or read_training_steps(steps, where, problems)


def write_preprocessing(preprocessing: Preprocessing) -> list[dict[str, object]]:
    """Returns the mm list; read_preprocessing reads the same back."""
    if isinstance(preprocessing, ForeignSteps):
        return cast(list[dict[str, object]], plain(preprocessing.steps))
    return write_steps(preprocessing)


def picture_size(image_size: tuple[int, int] | None, steps: Iterable[Mapping[str, object]]) -> tuple[int, int]:
    """Returns (height, width) in pixels of what the network gets.

    image_size: what the network was built for; None where it takes any size: then the last step of the mm list that
    makes all pictures equally large says it, or it is 224.
    """
    if image_size is not None:
        return image_size
    found = (_USUAL_SIDE, _USUAL_SIDE)
    for step in steps:
        side = step.get("crop_size", step.get("size"))
        pair = side if isinstance(side, list | tuple) else (side, side)
        if len(pair) == 2 and all(type(number) is int and number > 0 for number in pair):
            found = pair[0], pair[1]
    return found


def _foreign(steps: object, where: str) -> ForeignSteps | None:
    """Returns the list if mmcls has to make it; None for a native one, and for one that is wrong in any case."""
    if isinstance(steps, str | Mapping) or not isinstance(steps, Sequence):
        return None
    kinds = [step.get("type") if isinstance(step, Mapping) else None for step in steps]
    reasons = tuple(
        f"{where}[{index}] is of type {kind!r}, which is not among the native steps"
        for index, kind in enumerate(kinds)
        if isinstance(kind, str) and _is_foreign(kind)
    )
    if not reasons or not all(isinstance(kind, str) for kind in kinds):
        return None
    return ForeignSteps(tuple(cast(list[dict[str, object]], plain(steps))), reasons)


def _is_foreign(kind: str) -> bool:
    if kind in NATIVE_STEPS:
        return False
    return kind in _STEPS_OF_MMCLS or not difflib.get_close_matches(kind, NATIVE_STEPS, n=1, cutoff=_ALIKE)
