"""How the scores of a network are to be read: what `beit calibrate` stores in configuration.json. Standard library."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from modelscope_beit.settings.problems import Section

# The key in configuration.json; no key of ModelScope's.
CONFIDENCE = "confidence"
_DIGEST = "sha256:"


@dataclass(frozen=True)
class Confidence:
    """What was fitted to pictures that the network was not trained on.

    temperature: the logits are divided by it before they become scores; above 1 where the network was too sure.
    unknown_below: a picture whose logits speak less than this for any class is called unknown; see network/scores.py.
    false_alarm_rate: the largest share of pictures of known classes that was to be called unknown.
    pictures: that it was fitted to. data: what these are called. weights: digest of the weight file that it is for.
    """

    temperature: float
    unknown_below: float
    false_alarm_rate: float
    pictures: int
    data: str
    weights: str

    def in_words(self) -> str:
        """Returns two lines for people."""
        return (
            f"temperature {self.temperature:.4g}, fitted to {self.pictures:,} pictures ({self.data})\n"
            f"unknown below {self.unknown_below:.4g}, as at most {100 * self.false_alarm_rate:.3g} % of pictures of "
            "known classes are"
        )


def read_confidence(root: Section) -> Confidence | None:
    """Returns what a configuration holds under "confidence"; None if there is nothing, or after noting what is wrong.

    root: the whole configuration.
    """
    if root.get(CONFIDENCE) is None:
        return None
    section = root.section(CONFIDENCE)
    if section is None:
        return None
    before = len(root.problems.wrong)
    found = Confidence(
        temperature=_number(section, "temperature", lambda value: value > 0, "a finite number above 0"),
        unknown_below=_number(section, "unknown_below", lambda value: True, "a finite number"),
        false_alarm_rate=_number(section, "false_alarm_rate", lambda value: 0 < value < 1, "a share between 0 and 1"),
        pictures=int(
            _number(section, "pictures", lambda value: value >= 1 and value % 1 == 0, "a count of at least 1")
        ),
        data=_text(section, "data", "", "a text"),
        weights=_text(section, "weights", _DIGEST, f"a digest that begins with {_DIGEST}"),
    )
    section.refuse_unknown_keys()
    return found if len(root.problems.wrong) == before else None


def write_confidence(confidence: Confidence) -> dict[str, object]:
    """Returns the mapping for configuration.json, which read_confidence reads back."""
    return asdict(confidence)


def _number(section: Section, name: str, is_right: Callable[[float], bool], expected: str) -> float:
    value = section.get(name)
    # JSON, as Python reads it, has NaN and infinity.
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and is_right(value):
        return value
    section.wrong(name, f"{expected} is expected")
    return 0.0


def _text(section: Section, name: str, beginning: str, expected: str) -> str:
    value = section.get(name)
    if isinstance(value, str) and value.startswith(beginning):
        return value
    section.wrong(name, f"{expected} is expected")
    return ""
