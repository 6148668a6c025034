"""Where a model is published: which hub, under which id, on which branch."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from modelscope_beit.errors import SettingsError

Hub = Literal["modelscope", "huggingface"]
HUBS: tuple[Hub, ...] = get_args(Hub)

# What both hubs take: letters, digits, dots, hyphens and underscores; no dot or hyphen at either end of a name.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_EXAMPLE = "modelscope:namespace/name"


@dataclass(frozen=True)
class Destination:
    """A place on a hub.

    repo_id: "namespace/name". revision: the branch that is written to; None: the hub's own default.
    """

    hub: Hub
    repo_id: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """The last part of the id."""
        return self.repo_id.partition("/")[2]

    def __str__(self) -> str:
        return f"{self.hub}:{self.repo_id}" + (f" ({self.revision})" if self.revision else "")


def read_destination(text: str, *, revision: str | None = None) -> Destination:
    """Returns the destination that a person writes as "modelscope:namespace/name" or "huggingface:namespace/name".

    Raises SettingsError if the hub is another one or the id cannot be one.
    """
    hub, colon, repo_id = text.partition(":")
    if not colon:
        raise SettingsError(
            f"The destination is {text!r}, but a hub and an id are expected, e.g. {_EXAMPLE}; write "
            f"{HUBS[0]}:{text} or {HUBS[1]}:{text}."
        )
    if hub not in HUBS:
        raise SettingsError(f"The hub of the destination {text!r} is {hub!r}; expected {' or '.join(HUBS)}.")
    names = repo_id.split("/")
    if len(names) != 2 or not all(_NAME.fullmatch(name) for name in names) or ".." in repo_id or "--" in repo_id:
        raise SettingsError(
            f"The id of the destination {text!r} is {repo_id!r}, but namespace/name is expected: two names of letters, "
            f"digits, '.', '-' and '_', without a dot or hyphen at the ends and without '..' and '--'."
        )
    return Destination(HUBS[HUBS.index(hub)], repo_id, revision)
