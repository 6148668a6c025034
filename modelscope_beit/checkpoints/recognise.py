"""Tells from the keys of a state dict whose names they are. Strings only."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache

from modelscope_beit import names
from modelscope_beit.checkpoints.key_tables import LAYOUTS, Layout
from modelscope_beit.errors import CheckpointError

_BLOCK_NUMBER = re.compile(r"\.(\d+)\.")
# Without these two there is no network to speak of.
_ESSENTIAL = ("backbone.cls_token", "backbone.patch_embed.proj.weight")
_NUM_NEAREST = 3
_NUM_KEYS_SHOWN = 3


def recognise(keys: Iterable[str]) -> Layout:
    """Returns the layout in which every key has its place.

    Raises CheckpointError that names the three nearest layouts and the first keys that do not fit each.
    """
    keys = list(keys)
    misfits = {name: _misfits(keys, layout) for name, layout in LAYOUTS.items()}
    for name, layout in LAYOUTS.items():
        if not misfits[name]:
            return layout
    strangers = {name: _strangers(misfits[name], layout) for name, layout in LAYOUTS.items()}
    nearest = sorted(misfits, key=lambda name: (len(strangers[name]), len(misfits[name])))[:_NUM_NEAREST]
    shown = {name: _shown(list(dict.fromkeys(strangers[name] + misfits[name]))) for name in nearest}
    lines = "".join(f"\n- {LAYOUTS[name].title} ({name}): {shown[name]}" for name in nearest)
    raise CheckpointError(
        f"Expected the weights of a BEiT, ViT or DeiT classifier, but the {len(keys)} keys fit no known layout. "
        f"Nearest are:{lines}\nRegister tokens and other architectures are not supported. Of a convolutional network "
        f"of timm the name is needed: {names.COMMAND} convert FILE FOLDER --arch NAME"
    )


def with_block_number(pattern: str, number: str | None) -> str:
    """Returns a key out of a pattern of the tables."""
    return pattern if number is None else pattern.replace("{}", number, 1)


def without_block_number(key: str) -> tuple[str, str | None]:
    """Returns the pattern of a key, as the tables write it, and its block number."""
    match = _BLOCK_NUMBER.search(key)
    if match is None:
        return key, None
    return f"{key[: match.start()]}.{{}}.{key[match.end() :]}", match[1]


@cache
def places(layout_name: str) -> dict[str, tuple[str, int | None]]:
    """Returns their pattern -> our pattern, and which third of our rows it is (None: all of them)."""
    found: dict[str, tuple[str, int | None]] = {}
    for ours, theirs in LAYOUTS[layout_name].names.items():
        if isinstance(theirs, str):
            found[theirs] = (ours, None)
        else:
            found |= {part: (ours, number) for number, part in enumerate(theirs)}
    return found


def is_dropped(key: str, layout: Layout) -> bool:
    """Tells whether a classifier has no use for the key."""
    return any(fnmatchcase(key, pattern) for pattern in layout.dropped)


def _misfits(keys: list[str], layout: Layout) -> list[str]:
    known = places(layout.name)
    found = [key for key in keys if without_block_number(key)[0] not in known and not is_dropped(key, layout)]
    missing = [theirs for ours in _ESSENTIAL if isinstance(theirs := layout.names[ours], str) and theirs not in keys]
    if not missing and not any(fnmatchcase(key, mark) for key in keys for mark in layout.marks):
        missing = [" or ".join(layout.marks)]
    return found + [f"{name} (missing)" for name in missing]


def _strangers(misfits: list[str], layout: Layout) -> list[str]:
    """Returns those keys that would not fit even if the part before their first dot were another."""
    known = {pattern.partition(".")[2] or pattern for pattern in places(layout.name)}
    return [key for key in misfits if without_block_number(key)[0].partition(".")[2] not in known]


def _shown(misfits: list[str]) -> str:
    more = len(misfits) - _NUM_KEYS_SHOWN
    return ", ".join(misfits[:_NUM_KEYS_SHOWN]) + (f" and {more} more" if more > 0 else "")
