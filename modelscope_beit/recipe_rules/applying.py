"""Puts the choices of a rule into a configuration, beneath what the user has set, and tells both.

An editable file of them, recipe.json, is what `beit train --config` reads. Standard library only.
"""

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, cast

from modelscope_beit.errors import SettingsError
from modelscope_beit.recipe_rules.auto import choose_auto
from modelscope_beit.recipe_rules.bit import choose_bit
from modelscope_beit.recipe_rules.facts import GIVEN, Choice, Facts
from modelscope_beit.settings.problems import plain

RULES: dict[str, Callable[[Facts], list[Choice]]] = {"auto": choose_auto, "bit": choose_bit}
# The sections of a configuration that are a recipe, and of the network those keys that its training reads.
_SECTIONS = ("train", "evaluation")
_OF_TRAINING = {"backbone": ("drop_path_rate", "frozen_stages", "with_cp"), "head": ("loss",)}
# What is decided where a run takes place and what it starts from, not by a recipe.
_OF_ONE_RUN = ("work_dir", "resume_from", "load_from")
# Steps that change no pixel are not told.
_PLUMBING = ("LoadImageFromFile", "ImageToTensor", "ToTensor", "Collect")
_COLUMN_WIDTH = 52


@dataclass(frozen=True)
class RuledRecipe:
    """What became of a rule's choices.

    rule: its name. rows: key path, value and reason of every choice, as it counts. configuration: with all of them.
    """

    rule: str
    rows: tuple[tuple[str, str, str], ...]
    configuration: dict[str, object]

    def in_words(self) -> str:
        """Returns a table for the log: key path, value and reason of each choice, in columns."""
        width = max(len(path) for path, _, _ in self.rows)
        lines = [f'The recipe, by the rule "{self.rule}":']
        for path, *texts in self.rows:
            values, reasons = (textwrap.wrap(text, _COLUMN_WIDTH, break_on_hyphens=False) for text in texts)
            for name, value, reason in zip_longest([path], values, reasons, fillvalue=""):
                lines.append(f"  {name:<{width}}  {value:<{_COLUMN_WIDTH}}  {reason}".rstrip())
        return "\n".join(lines)

    def as_file(self) -> str:
        """Returns the text of recipe.json: the sections that --config takes over, and the reasons."""
        content = cast(dict[str, Any], plain(self.configuration))
        mm_model = content["model"]["mm_model"]
        parts: dict[str, Any] = {
            name: {key: mm_model[name][key] for key in keys if key in mm_model.get(name, {})}
            for name, keys in _OF_TRAINING.items()
        }
        recipe = {name: content[name] for name in _SECTIONS if name in content}
        recipe["train"] = {name: value for name, value in recipe["train"].items() if name not in _OF_ONE_RUN}
        about = {
            "what": f'the recipe of the rule "{self.rule}"; edit it and train with --config',
            "reasons": {path: reason for path, _, reason in self.rows},
        }
        network = {"mm_model": {**parts, "train_cfg": mm_model.get("train_cfg")}}
        content = {"_about": about, "model": network, "preprocessor": content["preprocessor"], **recipe}
        return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def user_settings(
    configuration: Mapping[str, object], original: Mapping[str, object], named: Iterable[str] = ()
) -> dict[str, object]:
    """Returns key path -> value of everything in which a configuration differs from the original one.

    A mapping that has lost keys was replaced as a whole and counts as one value; so does a list.
    named: key paths that the user has set in any case, perhaps to what they were.
    """
    return dict(_differences(configuration, original, "")) | {path: _get(configuration, path) for path in named}


def named_paths(settings: Mapping[str, object]) -> tuple[str, ...]:
    """Returns the key paths of all values in a configuration that holds nothing but what the user has set."""
    return tuple(user_settings(settings, {}))


def apply_rule(rule: str, configuration: Mapping[str, object], facts: Facts) -> RuledRecipe:
    """Returns a configuration with the choices of a rule, but for those that facts.given goes before.

    Raises SettingsError for a network that the rule has no choices for.
    """
    if rule == "auto" and facts.start.width is None:
        raise SettingsError(
            'The rule "auto" knows BEiT v2, BEiT, ViT and DeiT, but this network is one of timm or mmcls. Take the '
            'rule "bit", or a recipe of your own.'
        )
    content = cast(dict[str, object], plain(configuration))
    choices = RULES[rule](facts)
    for choice in choices:
        _put(content, choice.path, plain(choice.value))
    for path, value in facts.given.items():
        _put(content, path, plain(value))
    rows = tuple(_row(choice, content, facts.given) for choice in choices)
    return RuledRecipe(rule, rows, content)


def _row(choice: Choice, content: Mapping[str, object], given: Mapping[str, object]) -> tuple[str, str, str]:
    over = [path for path in given if _overlap(path, choice.path)]
    if not over:
        return choice.path, in_short(choice.value), choice.reason
    value = _get(content, choice.path)
    if value == choice.value:
        return choice.path, in_short(value), "as you set it" + (f" ({choice.reason})" if choice.reason != GIVEN else "")
    if all(path.startswith(f"{choice.path}.") for path in over):
        names = ", ".join(path.removeprefix(f"{choice.path}.") for path in over)
        return choice.path, in_short(value), f"{names} as you set it; else {choice.reason}"
    return choice.path, in_short(value), f"as you set it; the rule says {in_short(choice.value)}: {choice.reason}"


def in_short(value: object) -> str:
    """Returns a value as a cell of a table."""
    if isinstance(value, Mapping):
        name = str(value.get("type", value.get("policy", "")))
        rest = [f"{key} {in_short(one)}" for key, one in value.items() if key not in ("type", "policy")]
        return " ".join(filter(None, [name, ", ".join(rest)]))
    if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        told = [one for one in value if not (isinstance(one, Mapping) and one.get("type") in _PLUMBING)]
        return "; ".join(map(in_short, told))
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(in_short, value)) + ")"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _differences(new: Mapping[str, object], old: Mapping[str, object], path: str) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in new.items():
        place, before = f"{path}.{name}" if path else str(name), old.get(name)
        before = {} if before is None and isinstance(value, Mapping) else before
        if isinstance(value, Mapping) and isinstance(before, Mapping) and _can_be_compared(value, before):
            found += _differences(value, before, place)
        elif plain(value) != plain(before):
            found.append((place, value))
    return found


def _can_be_compared(new: Mapping[str, object], old: Mapping[str, object]) -> bool:
    """Tells whether two mappings are compared key by key; a key with a dot in it would be a path of two."""
    return old.keys() <= new.keys() and not any("." in str(name) for name in new)


def _overlap(first: str, second: str) -> bool:
    return first == second or first.startswith(f"{second}.") or second.startswith(f"{first}.")


def _put(content: dict[str, object], path: str, value: object) -> None:
    *parents, last = path.split(".")
    place = content
    for name in parents:
        inner = place.get(name)
        if not isinstance(inner, dict):
            inner = place[name] = {}
        place = inner
    place[last] = value


def _get(content: Mapping[str, object], path: str) -> object:
    place: object = content
    for name in path.split("."):
        place = place.get(name) if isinstance(place, Mapping) else None
    return place
