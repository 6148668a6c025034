"""The steps from a picture to the network's input in training, as mmcls 0.x spells them in `preprocessor.train`."""

from collections.abc import Mapping, Sequence

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.augmentation_steps import (
    ColorJitter,
    Lighting,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
)
from modelscope_beit.settings.policies import AutoAugment, RandAugment, read_auto_augment, read_rand_augment
from modelscope_beit.settings.policy_operations import OPERATIONS
from modelscope_beit.settings.preprocessing import (
    EVALUATION_KINDS,
    CenterCrop,
    Pad,
    Resize,
    order_problems,
)
from modelscope_beit.settings.problems import Problems, shown
from modelscope_beit.settings.step_values import StepSettings, read_step

# Any step of evaluation or with chance.
TrainingStep = StepSettings

_NESTED = {"AutoAugment": read_auto_augment, "RandAugment": read_rand_augment}
_RANDOM = (RandomResizedCrop, RandomCrop, RandomFlip, RandomGrayscale, ColorJitter, Lighting, RandomErasing)
_KINDS: dict[str, type[StepSettings]] = {
    **EVALUATION_KINDS,
    **{kind.__name__: kind for kind in (*_RANDOM, AutoAugment, RandAugment, *OPERATIONS)},
}
# The names of all steps, of evaluation too.
NATIVE_STEPS = frozenset(_KINDS)


def read_training_steps(
    steps: Sequence[Mapping[str, object]], where: str, problems: Problems
) -> tuple[TrainingStep, ...]:
    """Returns the steps of an mm list, e.g. of `preprocessor.train`, that could be read.

    steps: mappings with a "type"; lists and tuples mean the same. where: the key path of the list, for messages.
    Notes as wrong in `problems` every unknown step, unknown key, unusable value, and every order that does not end in
    normalised (3, H, W) tensors of one size.
    """
    if isinstance(steps, str | Mapping) or not isinstance(steps, Sequence):
        problems.wrong.append(
            f"{where} is {shown(steps)}: a list of steps such as {{'type': 'RandomResizedCrop', ...}} is expected"
        )
        return ()
    read: list[TrainingStep | None] = []
    for index, mapping in enumerate(steps):
        step = None
        try:
            step = _read(mapping)
        except SettingsError as error:
            problems.wrong.append(f"{where}[{index}] {str(error).removesuffix('.')}")
        read.append(step)
    names = [str(mapping.get("type")) if isinstance(mapping, Mapping) else "" for mapping in steps]
    problems.wrong += _training_order_problems(names, read, where)
    return tuple(step for step in read if step is not None)


def check_training_order(steps: Sequence[TrainingStep]) -> None:
    """Raises SettingsError if the steps, in this order, do not make normalised (3, H, W) tensors of one size."""
    problems = _training_order_problems([type(step).__name__ for step in steps], steps, "steps")
    if problems:
        raise SettingsError("\n- ".join(["These steps do not make normalised pictures of one size:", *problems]))


def _read(mapping: Mapping[str, object]) -> TrainingStep:
    name = mapping.get("type") if isinstance(mapping, Mapping) else None
    if isinstance(name, str) and name in _NESTED:
        return _NESTED[name](mapping)
    return read_step(mapping, _KINDS, "training")


def _training_order_problems(names: Sequence[str], steps: Sequence[TrainingStep | None], where: str) -> list[str]:
    problems = order_problems(names, steps, where)
    lit = names.index("Lighting") if "Lighting" in names else len(names)
    for index, step in enumerate(steps):
        if step is not None and index > lit and not step.may_follow_normalize():
            problems.append(f"{where}[{index}] {names[index]}: must come before Lighting")
    if None not in steps and not any(map(_gives_one_size, steps)):
        problems.append(
            f"{where} must give all pictures one size; add e.g. {{'type': 'RandomResizedCrop', 'size': 224}}"
        )
    return problems


def _gives_one_size(step: TrainingStep | None) -> bool:
    if isinstance(step, Resize):
        return isinstance(step.size, int) or step.size[1] != -1
    return isinstance(step, RandomResizedCrop | RandomCrop | CenterCrop) or isinstance(step, Pad) and bool(step.size)
