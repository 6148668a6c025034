"""How the scores of a network are to be read: what `beit calibrate` stores in configuration.json. Standard library."""

import math
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
            f"unknown below {self.unknown_below:.4g}, so that at most {self.false_alarm_rate:.3g} of the pictures of "
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
        temperature=section.number("temperature", math.nan),
        unknown_below=section.number("unknown_below", math.nan),
        false_alarm_rate=section.number("false_alarm_rate", math.nan),
        pictures=section.integer("pictures", 0),
        data=_text(section, "data"),
        weights=_text(section, "weights"),
    )
    section.refuse_unknown_keys()
    if len(root.problems.wrong) > before:
        return None
    _check(section, found)
    return found if len(root.problems.wrong) == before else None


def write_confidence(confidence: Confidence) -> dict[str, object]:
    """Returns the mapping for configuration.json, which read_confidence reads back."""
    return asdict(confidence)


def _text(section: Section, name: str) -> str:
    value = section.get(name)
    if isinstance(value, str):
        return value
    section.wrong(name, "a text is expected")
    return ""


def _check(section: Section, found: Confidence) -> None:
    """Notes values of the right type that nobody can have fitted; NaN and infinity, which JSON of Python knows, too."""
    if not (math.isfinite(found.temperature) and found.temperature > 0):
        section.wrong("temperature", "a finite number above 0 is expected")
    if not math.isfinite(found.unknown_below):
        section.wrong("unknown_below", "a finite number is expected")
    if not 0 < found.false_alarm_rate < 1:
        section.wrong("false_alarm_rate", "a share between 0 and 1 is expected")
    if found.pictures < 1:
        section.wrong("pictures", "a number of at least 1 is expected")
    if not found.weights.startswith(_DIGEST):
        section.wrong("weights", f"a digest that begins with {_DIGEST} is expected")
