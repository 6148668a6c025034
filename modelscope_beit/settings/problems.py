"""Collects everything that is wrong with a configuration, so that a person can mend it in one go."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from modelscope_beit.errors import SettingsError

# Of ModelScope and of Hugging Face; a misspelt `hub_token` must not end in a log.
_TOKEN = re.compile(r"\b(?:ms-[0-9a-f]{8}-[0-9a-f-]{4,}|hf_[A-Za-z0-9]{8,})")


@dataclass
class Problems:
    """What was found while reading a configuration.

    wrong: sentences about values that nobody could use.
    foreign: sentences about values that mmcls understands but that the native network cannot express.
    unknown: path of a key that nobody reads -> a hint. It is no problem in itself: whoever reads a whole
        configuration tells what stood in the folder's own file from what somebody has just introduced.
    """

    wrong: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)

    def raise_if_any(self, where: str) -> None:
        """Raises SettingsError that lists all problems; where: the file or object that was read."""
        found = list(self.wrong)
        if self.foreign:
            found += self.foreign
            found.append('mmcls could build that: pip install "modelscope-beit[openmmlab]"')
        if found:
            raise SettingsError("\n- ".join([f"{where} cannot be used as it is:", *found]))


class Section:
    """One mapping inside a configuration, read key by key; what is wrong goes to `problems`.

    path: the keys that lead to it, joined with dots; empty for the whole configuration.
    A reading method gives the default when the key is absent or wrong, so that reading can go on.
    """

    def __init__(self, mapping: Mapping[str, object], path: str, problems: Problems) -> None:
        self.mapping = mapping
        self.path = path
        self.problems = problems
        self._known: set[str] = set()

    def wrong(self, name: str, sentence: str) -> None:
        """Notes that the value under `name` cannot be used; sentence: what was expected."""
        self.problems.wrong.append(f"{self._at(name)} {self._came(name)}: {sentence}")

    def foreign(self, name: str, sentence: str) -> None:
        """Notes that the value under `name` needs mmcls; sentence: what the native network can do."""
        self.problems.foreign.append(f"{self._at(name)} {self._came(name)}: {sentence}")

    def get(self, name: str, default: object = None) -> object:
        """Returns the raw value and marks the key as known."""
        self._known.add(name)
        return self.mapping.get(name, default)

    def integer(self, name: str, default: int) -> int:
        """Returns a whole number."""
        value = self.get(name, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.wrong(name, "a whole number is expected")
        return default

    def number(self, name: str, default: float) -> float:
        """Returns a number."""
        value = self.get(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        self.wrong(name, "a number is expected")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """Returns true or false."""
        value = self.get(name, default)
        if isinstance(value, bool):
            return value
        self.wrong(name, "true or false is expected")
        return default

    def sides(self, name: str, default: int) -> tuple[int, int]:
        """Returns (height, width) in pixels out of one whole number or a list of two."""
        value = self.get(name, default)
        pair = [value, value] if isinstance(value, int) else value
        if isinstance(pair, list | tuple) and len(pair) == 2 and all(type(side) is int for side in pair):
            return pair[0], pair[1]
        self.wrong(name, "one whole number or [height, width] is expected")
        return default, default

    def section(self, name: str) -> "Section | None":
        """Returns the mapping under `name`, or None after noting that there is none."""
        value = self.get(name)
        if isinstance(value, Mapping):
            return Section(value, self._at(name), self.problems)
        self.wrong(name, "a mapping is expected")
        return None

    def refuse_unknown_keys(self, harmless: Collection[str] = ()) -> None:
        """Notes every key that was never read, with the nearest known name.

        harmless: keys that may stand there unread. So may keys that begin with an underscore (comments).
        """
        for name, hint in self._unread_keys(harmless).items():
            self.wrong(name, f"nobody knows this key; {hint}")

    def note_unknown_keys(self, harmless: Collection[str] = ()) -> None:
        """Notes every key that was never read under `problems.unknown`; for keys that change no network, no pixel."""
        for name, hint in self._unread_keys(harmless).items():
            self.problems.unknown[self._at(name)] = hint

    def _unread_keys(self, harmless: Collection[str]) -> dict[str, str]:
        """Returns key -> hint at the nearest known one."""
        known = sorted(self._known | set(harmless))
        unread = {}
        for name in self.mapping:
            if name in known or str(name).startswith("_"):
                continue
            nearest = difflib.get_close_matches(str(name), known, n=1)
            unread[str(name)] = f"did you mean {nearest[0]}?" if nearest else f"known keys: {', '.join(known)}"
        return unread

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _came(self, name: str) -> str:
        return f"is {shown(self.mapping[name])}" if name in self.mapping else "is missing"


def shown(value: object) -> str:
    """Returns a value as it is quoted in a message: its repr, at most 60 characters, and no hub's token in it."""
    text = _TOKEN.sub("***", repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def plain(value: object) -> object:
    """Returns a deep copy made of dicts and lists only (tuples and every kind of mapping become these)."""
    if isinstance(value, Mapping):
        return {str(name): plain(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return value
