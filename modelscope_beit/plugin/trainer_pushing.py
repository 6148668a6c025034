"""Pushes a finished run to the ModelScope hub, where a script's `push_to_hub` asks for it.

ModelScope's own hook pushes at every checkpoint, to the branch as it stands. Here it is done once, at the end, with the
weights that the run's `output` holds (the best ones, or the last ones where nothing was validated), as `beit publish`
does it: staged, checked, sent.
"""

import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from logging import Logger
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.errors import BeitError
from modelscope_beit.publishing.destination import Destination, read_destination
from modelscope_beit.settings.hub_push import HubPush

# In the run folder: what is to be sent; it stays where it could not be sent.
STAGED = "staged"

_SECONDS_BETWEEN_LINES = 30.0


def check_pushes(pushes: Sequence[HubPush]) -> None:
    """Raises, before hours of training, SettingsError for a wrong id and PublishingError where there is no token."""
    if not pushes:
        return
    # Deferred, as below: it brings a hub's client, and most runs are not pushed.
    from modelscope_beit.publishing.modelscope_hub_client import ModelScopeHub

    for push in pushes:
        ModelScopeHub(_destination(push), push.token)


def push_run(run: Path, pushes: Sequence[HubPush], logger: Logger) -> None:
    """Sends a run to each place. What fails is logged with the command that repeats it, and loses nothing.

    So it is with ModelScope's own hook, too: a script goes on, to evaluate() for instance, when the hub is down.
    """
    if not pushes:
        return
    from modelscope_beit.publishing.publishing import publish
    from modelscope_beit.publishing.staging import stage

    for push in pushes:
        destination = _destination(push)
        folder = run / STAGED / push.repo_id
        try:
            staged = stage(run, destination, folder)
            done = publish(staged, token=push.token, private=push.private, progress=_lines(destination, logger))
        except (BeitError, OSError) as error:
            logger.error(
                f"The model was trained and is in {run / names.RUN_OUTPUT}, but it was not pushed to {destination}: "
                f"{error}\nTo try again: {_command(run, push)}"
            )
        else:
            shutil.rmtree(folder)
            logger.info(f"Pushed to {done.url}: {len(done.files_new)} files, {len(done.files_same)} were there.")


def _destination(push: HubPush) -> Destination:
    return read_destination(f"modelscope:{push.repo_id}", revision=push.revision)


def _command(run: Path, push: HubPush) -> str:
    """Returns what to type; a token that the script gave comes from the environment then."""
    words = [names.COMMAND, "publish", str(run), f"modelscope:{push.repo_id}"]
    words += ["--revision", push.revision] if push.revision else []
    words += [] if push.private else ["--no-private"]
    token = "MODELSCOPE_API_TOKEN=... " if push.token else ""
    return token + shlex.join(words)


def _lines(destination: Destination, logger: Logger) -> Callable[[int, int], None]:
    """Returns a function that says now and then how much has been sent."""
    last = time.monotonic()

    def tell(sent: int, size: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            logger.info(f"{destination}: {sent / 1e6:,.0f} of {size / 1e6:,.0f} MB sent")

    return tell
