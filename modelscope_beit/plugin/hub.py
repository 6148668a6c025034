"""Fetches model folders from the ModelScope hub, and asks whether it can be reached."""

import threading
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from modelscope_beit.errors import ModelFolderError


def download_model(model_id: str, *, revision: str | None = None) -> Path:
    """Returns the local folder of a hub model, downloaded unless ModelScope's cache holds it.

    model_id: "owner/name". revision: a branch or tag; None: the hub's default.
    Raises ModelFolderError that says what was tried and how to do without the hub.
    """
    # Takes seconds to import, so only when something is to be downloaded.
    from modelscope.hub.snapshot_download import snapshot_download

    try:
        return Path(snapshot_download(model_id, revision=revision))
    except Exception as error:  # noqa: BLE001 - the hub client raises its own kinds, requests' and OSError
        wanted = model_id if revision is None else f"{model_id} at revision {revision}"
        raise ModelFolderError(
            f"The model {wanted} could not be fetched from {_endpoint()} ({type(error).__name__}: {error}), and no "
            f"folder of that name exists here. Check the id and the network. To work offline, run "
            f"`modelscope download --model {model_id} --local_dir FOLDER` where there is a network, copy FOLDER "
            f"here and give its path instead of the id."
        ) from error


def hub_answers(timeout_seconds: float) -> bool:
    """Tells whether the hub answers within the time, through a proxy if the environment names one.

    Never takes longer, whatever the resolver or a proxy does: the question is asked in a thread of its own.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(_endpoint(), method="HEAD"), timeout=timeout_seconds).close()
        except HTTPError:
            pass  # A refusal is an answer, too.
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, name="beit-hub", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return answered.is_set()


def _endpoint() -> str:
    """Returns the hub's address, which MODELSCOPE_ENDPOINT can change."""
    # Imports the hub's client and requests, for the same reason as above.
    from modelscope_hub.config import get_default_config

    return str(get_default_config().endpoint)
