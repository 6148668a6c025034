"""A mapping, as JSON has it -> frozen dataclasses, whose fields and types say what is expected, and back.

For settings that are ours alone; those with mm's or ModelScope's words have readers of their own.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import Problems, Section, plain

Settings = TypeVar("Settings")
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def settings_from(mapping: Mapping[str, object], kind: type[Settings], *, where: str) -> Settings:
    """Returns the settings that a mapping describes; what it leaves out has its default.

    kind: a dataclass of numbers, flags, texts, Literals, tuples, dataclasses, and unions of these with None.
    where: the file or key path, for messages. Raises SettingsError that lists every key that nobody knows and every
    value of a wrong kind, or what the dataclass itself finds wrong.
    """
    problems = Problems()
    made = _read(Section(mapping, "", problems), kind)
    problems.raise_if_any(where)
    return typing.cast(Settings, made)


def mapping_of(settings: object) -> dict[str, Any]:
    """Returns what settings_from reads back: dicts, lists, numbers, texts and None only."""
    assert is_dataclass(settings), "settings are dataclasses"
    found = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: mapping_of(value) if is_dataclass(value) else plain(value) for name, value in found.items()}


def _read(section: Section, kind: type) -> object:
    hints = get_type_hints(kind)
    given = {}
    for field in fields(kind):
        value = section.get(field.name, MISSING)
        if value is MISSING:
            if not _has_default(field):
                section.wrong(field.name, f"{_expected(hints[field.name])} is expected")
            continue
        before = len(section.problems.wrong)
        made = _value(section, field.name, value, hints[field.name])
        if made is MISSING:
            section.wrong(field.name, f"{_expected(hints[field.name])} is expected")
        if len(section.problems.wrong) == before:
            given[field.name] = made
    section.refuse_unknown_keys()
    if section.problems.wrong:
        return None
    try:
        return kind(**given)
    except SettingsError as error:
        section.problems.wrong.append(f"{section.path}: {error}" if section.path else str(error))
        return None


def _value(section: Section, name: str, value: object, hint: Any) -> object:
    """Returns the value as the hint wants it, or MISSING if it is of another kind."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        tried = (_value(section, name, value, option) for option in get_args(hint))
        return next((made for made in tried if made is not MISSING), MISSING)
    if origin is Literal:
        return value if value in get_args(hint) else MISSING
    if origin is tuple:
        return _tuple(section, name, value, get_args(hint))
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            return MISSING
        inner = section.section(name)
        assert inner is not None, "it is a mapping"
        return _read(inner, hint)
    if hint is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else MISSING
    return value if type(value) is hint else MISSING


def _tuple(section: Section, name: str, value: object, hints: tuple[Any, ...]) -> object:
    if not isinstance(value, list | tuple):
        return MISSING
    wanted = hints[:1] * len(value) if hints[1:] == (Ellipsis,) else hints
    if len(wanted) != len(value):
        return MISSING
    made = tuple(_value(section, name, item, hint) for item, hint in zip(value, wanted, strict=True))
    return MISSING if MISSING in made else made


def _has_default(field: "Field[Any]") -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _expected(hint: Any) -> str:
    """Returns what a type hint expects, in words."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_expected, get_args(hint)))
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if origin is tuple:
        items = get_args(hint)
        return f"a list of {_expected(items[0])}" if items[1:] == (Ellipsis,) else f"a list of {len(items)} values"
    return _WORDS.get(hint, "a mapping")
