"""AutoAugment and RandAugment, as mmcls 0.x spells them in `preprocessor.train`. No pixels here.

Source: mmcls 0.25.0, datasets/pipelines/auto_augment.py and configs/_base_/datasets/pipelines/rand_aug.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.policy_operations import OPERATIONS, Operation
from modelscope_beit.settings.problems import shown
from modelscope_beit.settings.step_values import (
    AnyStep,
    StepSettings,
    is_number,
    is_numbers,
    is_whole,
    nearest,
    read_step,
    tupled,
)

_KINDS = {kind.__name__: kind for kind in OPERATIONS}
# mmcls's `rand_increasing_policies`: timm's fifteen operations of "rand-...-inc1", with timm's ranges.
INCREASING_POLICIES: tuple[dict[str, object], ...] = (
    {"type": "AutoContrast"},
    {"type": "Equalize"},
    {"type": "Invert"},
    {"type": "Rotate", "magnitude_key": "angle", "magnitude_range": (0, 30)},
    {"type": "Posterize", "magnitude_key": "bits", "magnitude_range": (4, 0)},
    {"type": "Solarize", "magnitude_key": "thr", "magnitude_range": (256, 0)},
    {"type": "SolarizeAdd", "magnitude_key": "magnitude", "magnitude_range": (0, 110)},
    {"type": "ColorTransform", "magnitude_key": "magnitude", "magnitude_range": (0, 0.9)},
    {"type": "Contrast", "magnitude_key": "magnitude", "magnitude_range": (0, 0.9)},
    {"type": "Brightness", "magnitude_key": "magnitude", "magnitude_range": (0, 0.9)},
    {"type": "Sharpness", "magnitude_key": "magnitude", "magnitude_range": (0, 0.9)},
    {"type": "Shear", "magnitude_key": "magnitude", "magnitude_range": (0, 0.3), "direction": "horizontal"},
    {"type": "Shear", "magnitude_key": "magnitude", "magnitude_range": (0, 0.3), "direction": "vertical"},
    {"type": "Translate", "magnitude_key": "magnitude", "magnitude_range": (0, 0.45), "direction": "horizontal"},
    {"type": "Translate", "magnitude_key": "magnitude", "magnitude_range": (0, 0.45), "direction": "vertical"},
)
_DEFAULT_VALUES = {"pad_val": 128}


@dataclass(frozen=True)
class LevelledPolicy:
    """One choice of RandAugment.

    operation: at level 0. key: the value of it that follows the level, from span[0] at level 0 to span[1] at the
    highest; None: the level changes nothing.
    """

    operation: Operation
    key: str | None = None
    span: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class RandAugment(StepSettings):
    """`num_policies` operations, drawn one by one from `policies`, at a level around `magnitude_level`.

    magnitude_std: standard deviation of the level; 0 or less: none; "inf": uniform from 0 to magnitude_level.
    total_level: the highest level.
    """

    policies: tuple[LevelledPolicy, ...]
    num_policies: int
    magnitude_level: float
    magnitude_std: float | str = 0.0
    total_level: float = 30

    def __post_init__(self) -> None:
        problems = []
        if not is_whole(self.num_policies) or self.num_policies < 1:
            problems.append(f"num_policies is {shown(self.num_policies)}, but a whole number from 1 on is expected")
        if not is_number(self.magnitude_level) or self.magnitude_level < 0:
            problems.append(f"magnitude_level is {shown(self.magnitude_level)}, but a number, 0 or more, is expected")
        if self.magnitude_std != "inf" and not is_number(self.magnitude_std):
            problems.append(f"magnitude_std is {shown(self.magnitude_std)}, but a number or 'inf' is expected")
        if not is_number(self.total_level) or self.total_level <= 0:
            problems.append(f"total_level is {shown(self.total_level)}, but a number above 0 is expected")
        self.refuse(problems)


@dataclass(frozen=True)
class AutoAugment(StepSettings):
    """One of `policies`, each a row of operations that are carried out in turn."""

    policies: tuple[tuple[Operation, ...], ...]


def read_rand_augment(mapping: Mapping[str, object]) -> RandAugment:
    """Returns the step that an mm mapping spells; without "policies", or with "timm_increasing", INCREASING_POLICIES.

    "hparams": values, by key, for every policy that has the key and does not give it itself.
    Raises SettingsError that lists every problem; the sentence continues one that names the mapping's place.
    """
    problems: list[str] = []
    values = _default_values(mapping, problems)
    policies = mapping.get("policies")
    if policies is None or policies == "timm_increasing":
        policies = INCREASING_POLICIES
    read = []
    for place, policy in _rows(policies, "policies", problems):
        try:
            read.append(_levelled(_with_values(policy, values)))
        except SettingsError as error:
            problems.append(f"{place} {str(error).removesuffix('.')}")
    return _made(mapping, RandAugment, tuple(read), problems)


def read_auto_augment(mapping: Mapping[str, object]) -> AutoAugment:
    """Returns the step that an mm mapping spells; "hparams": as for read_rand_augment.

    Raises SettingsError that lists every problem; the sentence continues one that names the mapping's place.
    """
    problems: list[str] = []
    values = _default_values(mapping, problems)
    read: list[tuple[Operation, ...]] = []
    for place, row in _rows(mapping.get("policies"), "policies", problems):
        operations = []
        for inner_place, policy in _rows(row, place, problems):
            try:
                operations.append(read_step(_with_values(policy, values), _KINDS, "AutoAugment"))
            except SettingsError as error:
                problems.append(f"{inner_place} {str(error).removesuffix('.')}")
        read.append(tuple(operations))
    return _made(mapping, AutoAugment, tuple(read), problems)


def _rows(value: object, place: str, problems: list[str]) -> list[tuple[str, object]]:
    """Returns (place, item) of each item of a list, none after noting that it is no list or empty."""
    if isinstance(value, list | tuple) and value:
        return [(f"{place}[{index}]", item) for index, item in enumerate(value)]
    problems.append(f"{place} is {shown(value)}, but a list that is not empty is expected")
    return []


def _default_values(mapping: Mapping[str, object], problems: list[str]) -> Mapping[str, object]:
    values = mapping.get("hparams", _DEFAULT_VALUES)
    if not isinstance(values, Mapping):
        problems.append(f"hparams is {shown(values)}, but a mapping such as {_DEFAULT_VALUES} is expected")
        return {}
    known = {entry.name for kind in _KINDS.values() for entry in fields(kind)}
    problems += [f"hparams: no policy has {key!r}; {nearest(key, known)}" for key in values if key not in known]
    return values


def _with_values(policy: object, values: Mapping[str, object]) -> object:
    """Returns the policy with the values that it does not give itself."""
    if not isinstance(policy, Mapping) or policy.get("type") not in _KINDS:
        return policy
    known = {entry.name for entry in fields(_KINDS[str(policy["type"])])}
    added = {key: value for key, value in values.items() if key in known and policy.get(key) is None}
    return {**policy, **added}


def _levelled(policy: object) -> LevelledPolicy:
    if not isinstance(policy, Mapping) or policy.get("magnitude_key") is None:
        return LevelledPolicy(read_step(policy, _KINDS, "RandAugment"))
    key, span = policy["magnitude_key"], tupled(policy.get("magnitude_range"))
    given = {name: value for name, value in policy.items() if name not in ("magnitude_key", "magnitude_range")}
    if not isinstance(key, str):
        raise SettingsError(f"magnitude_key is {shown(key)}, but the name of a key is expected.")
    if not is_numbers(span, 2):
        raise SettingsError(f"magnitude_range is {shown(span)}, but [at level 0, at the highest level] is expected.")
    low, high = map(float, span)
    operation = read_step({**given, key: low}, _KINDS, "RandAugment")
    # The other end must be possible as well.
    read_step({**given, key: high}, _KINDS, "RandAugment")
    return LevelledPolicy(operation, key, (low, high))


def _made(
    mapping: Mapping[str, object], kind: type[AnyStep], policies: tuple[object, ...], problems: list[str]
) -> AnyStep:
    """Returns the step; raises SettingsError that lists `problems` and those of the other keys."""
    given = {key: value for key, value in mapping.items() if key != "hparams"}
    try:
        step = read_step({**given, "policies": policies}, {kind.__name__: kind}, "training")
    except SettingsError as error:
        problems.append(str(error).removeprefix(f"{kind.__name__}: ").removesuffix("."))
    if problems:
        raise SettingsError(f"{kind.__name__}: {'; '.join(problems)}.")
    return step
