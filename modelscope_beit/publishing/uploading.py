"""Sends a staged folder to a hub: makes the repository, sends what is not there yet, sets the tag."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.errors import PublishingError
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.huggingface_client import HuggingFaceHub
from modelscope_beit.publishing.modelscope_hub_client import ModelScopeHub
from modelscope_beit.publishing.refusals import explained
from modelscope_beit.publishing.secrecy import kept_out_of_logs
from modelscope_beit.publishing.source import read_front_matter
from modelscope_beit.publishing.staged_folder import files_below

_logger = logging.getLogger(__name__)

# Files that hubs put into every repository.
_THE_HUBS_OWN = {".gitattributes", ".gitignore", "README.md"}
# Names of branches: no tag may hide one.
_BRANCHES = ("main", "master")


@dataclass(frozen=True)
class Uploaded:
    """What is on the hub now.

    url: of the page to look at. revision: the branch. tag: None: no tag was asked for.
    files_new: paths that were sent. files_same: that were there with the same content, and were not sent.
    files_left: that are only on the hub; nothing is deleted there.
    """

    url: str
    revision: str
    files_new: tuple[str, ...]
    files_same: tuple[str, ...]
    files_left: tuple[str, ...] = ()
    tag: str | None = None


def upload(
    staged_folder: Path,
    destination: Destination,
    *,
    token: str | None,
    private: bool,
    tag: str | None,
    message: str,
    progress: Callable[[int, int], None],
) -> Uploaded:
    """Brings a folder to a hub, and tells what was sent and what was there.

    An upload that was cut off goes on by doing the same again: large files that have arrived are not sent twice, and
    nothing about it is kept on this machine.

    token: None: the hub's environment variable or stored login. private: whether a new repository is to be private.
    tag: a name for this state. message: of the commit. progress: gets bytes sent and bytes to send.

    Raises PublishingError, which says what to do, if there is no token, if the hub refuses or does not answer, if a
    private folder would go to a public repository, or if the tag exists and means something else.
    """
    if tag in _BRANCHES:
        raise PublishingError(f"The tag {tag!r} has the name of a branch; choose another, e.g. v1.0.")
    hub = ModelScopeHub(destination, token) if destination.hub == "modelscope" else HuggingFaceHub(destination, token)
    step = partial(explained, destination, signs=hub.signs, token=hub.token, kinds=hub.kinds)
    with kept_out_of_logs(hub.token):
        with step("opening the repository"):
            _open_repository(hub, private=private, license_id=_license(staged_folder))
        with step("listing what is there"):
            there, tags = hub.files(), hub.tags() if tag else set()
        local = files_below(staged_folder)
        same = tuple(path for path in local if path in there and there[path].has_content_of(staged_folder / path))
        new = tuple(path for path in local if path not in same)
        left = tuple(path for path in there if path not in local and path not in _THE_HUBS_OWN)
        _logger.info("%s: %d files are there already, %d are to be sent.", destination, len(same), len(new))
        if left:
            _logger.warning("%s has files that the folder lacks; they stay: %s.", destination, ", ".join(left))
        if tag in tags and new:
            raise PublishingError(
                f"{destination} has the tag {tag} already, and {len(new)} files differ from what is there "
                f"({', '.join(new[:3])} ...); nothing was sent. A tag goes on meaning what it meant: choose another."
            )
        if new:
            size = sum(local[path] for path in new)
            progress(0, size)
            with step("sending files"):
                hub.send(staged_folder, new, message, lambda sent: progress(min(sent, size), size))
            progress(size, size)
        if tag and tag not in tags:
            with step(f"setting the tag {tag}, with all files sent,"):
                hub.set_tag(tag)
    return Uploaded(hub.url, hub.revision, new, same, left, tag)


def _open_repository(hub: ModelScopeHub | HuggingFaceHub, *, private: bool, license_id: str | None) -> None:
    """Makes a missing repository; raises PublishingError if something private would go to a public one."""
    is_public = hub.is_public()
    if is_public is None:
        hub.create(private=private, license_id=license_id)
    elif private and is_public:
        raise PublishingError(
            f"{hub.url} exists and is public, but this is to be private; nothing was sent. Make the repository private "
            "in its settings, choose another name, or publish without asking for private."
        )
    elif not private and not is_public:
        _logger.warning("%s exists and is private; it stays so. Its settings can make it public.", hub.url)


def _license(folder: Path) -> str | None:
    """Returns what the card's front matter says, so that the hub's page says the same."""
    card = folder / names.CARD_FILE
    told = read_front_matter(card.read_text(encoding="utf-8")).get("license") if card.exists() else None
    return told if isinstance(told, str) else None
