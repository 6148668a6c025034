"""Keys of a configuration that nobody reads: the folder's own are passed over, newly introduced ones are mistakes.

ModelScope hands a configuration to `cfg_modify_fn` as an addict mapping, in which a misspelt key is set without a
murmur and reading an absent one leaves an empty mapping behind.
"""

import difflib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping

from modelscope_beit.settings.log_once import log_once
from modelscope_beit.settings.problems import Problems, plain, shown

logger = logging.getLogger(__name__)

# A place in a list, as "[3]" or as ".3".
_LIST_PLACE = re.compile(r"\[\d+\]|\.\d+(?=[.\[]|$)")


def without_empty_introductions(
    configuration: Mapping[str, object], original: Mapping[str, object]
) -> dict[str, object]:
    """Returns the configuration, as dicts and lists, without the empty mappings that the original does not have.

    What becomes empty by that goes too.
    """
    kept: dict[str, object] = {}
    for name, value in configuration.items():
        before = original.get(name)
        if not isinstance(value, Mapping):
            kept[str(name)] = plain(value)
            continue
        inside = without_empty_introductions(value, before if isinstance(before, Mapping) else {})
        if inside or name in original:
            kept[str(name)] = inside
    return kept


def judge_unknown_keys(
    problems: Problems, configuration: Mapping[str, object], original: Mapping[str, object] | None, where: str
) -> None:
    """Moves the introduced ones of `problems.unknown` to `problems.wrong`, and logs the others in one line.

    original: the folder's own configuration; None: nothing was introduced. where: the configuration, for the log.
    """
    places = dict(key_places(configuration))
    own = places if original is None else dict(key_places(original))
    unknown = {_LIST_PLACE.sub(_in_brackets, path): hint for path, hint in problems.unknown.items()}
    # Any key of the folder's own may have been meant, but for those that nobody reads.
    readable = [place for place in own if not any(_is_below(place, path) for path in unknown)]
    passed_over = []
    for path, hint in sorted(unknown.items()):
        introduced = [place for place in _leaves(path, places) if not _stood_there(place, places, own)]
        if not introduced:
            passed_over.append(path)
        for place in introduced:
            meant = _nearest(place, readable, hint)
            problems.wrong.append(f"{place} is {shown(places.get(place))}: nobody reads this; {meant}")
    if passed_over:
        told = f"Nobody reads these keys of {where}; they are passed over: {', '.join(passed_over)}."
        log_once(logger, logging.INFO, told)


def key_places(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yields (path, value) of everything in a configuration, at every depth; places in lists are written [0]."""
    if path:
        yield path, value
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from key_places(child, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from key_places(child, f"{path}[{index}]")


def _leaves(path: str, places: Mapping[str, object]) -> list[str]:
    """Returns the paths of the values below a path; the path itself if there are none, or if it is in a list."""
    below = [
        place
        for place, value in places.items()
        if _is_below(place, path) and not (isinstance(value, Mapping | list | tuple) and value)
    ]
    return [path] if path.endswith("]") or not below else below


def _stood_there(place: str, places: Mapping[str, object], own: Mapping[str, object]) -> bool:
    """Tells whether the original has this key, at any place of a list: a step that is put before it moves it.

    An element of a list has no name; it stood there if the list had an equal one.
    """
    unplaced = _LIST_PLACE.sub("[]", place)
    same_key = [value for known, value in own.items() if _LIST_PLACE.sub("[]", known) == unplaced]
    return places.get(place) in same_key if place.endswith("]") else bool(same_key)


def _is_below(place: str, path: str) -> bool:
    return place == path or place.startswith((f"{path}.", f"{path}["))


def _in_brackets(found: re.Match[str]) -> str:
    return f"[{found.group().strip('.[]')}]"


def _nearest(place: str, readable: Iterable[str], hint: str) -> str:
    """Returns the hint at the key that was meant: nearly the same path, or the same key somewhere else."""
    if place.endswith("]"):
        return hint
    close = difflib.get_close_matches(place, readable, n=1, cutoff=0.9)
    last = place.rpartition(".")[2]
    elsewhere = [known for known in readable if known.rpartition(".")[2] == last]
    # A reader that only lists the keys it knows has nothing better to say.
    if close or (len(elsewhere) == 1 and hint.startswith("known keys")):
        return f"did you mean {(close or elsewhere)[0]}?"
    return hint
