"""Long lists in messages: the beginning, and how many more there are."""

from collections.abc import Sequence

_NAMES = 5
_SENTENCES = 10


def some_of(names: Sequence[str]) -> str:
    """Returns up to five names, quoted, with commas between them."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(map(repr, names[:_NAMES])) + more


def some_mistakes(sentences: Sequence[str]) -> str:
    """Returns up to ten sentences or paths, with semicolons between them."""
    more = f"; and {len(sentences) - _SENTENCES} more" if len(sentences) > _SENTENCES else ""
    return "; ".join(sentences[:_SENTENCES]) + more
