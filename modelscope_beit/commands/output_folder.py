"""Where a command writes what it found about a model and some data."""

import re
from pathlib import Path

from modelscope_beit.errors import SettingsError


def title_of(model: str, data: str) -> str:
    """Returns e.g. "beit on photos" for models/beit and data/photos.csv."""
    return f"{short_name(model)} on {short_name(data)}"


def make_output_folder(wanted: Path | None, above: Path, title: str) -> Path:
    """Returns the folder, made before the long work, so that this does not end with an error about it.

    wanted: what the person asked for; None: one named after the title, in the folder `above`.
    Raises SettingsError if it cannot be made.
    """
    folder = wanted or above / re.sub(r"[^\w.-]+", "_", title).strip("._")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The report's folder {folder} cannot be made ({error}); choose another by --out."
        ) from error
    return folder


def short_name(name: str) -> str:
    """Returns the last part of a path or id, e.g. "photos" for data/photos/ or data/photos.csv."""
    path = Path(name).expanduser()
    return (path.resolve().stem if path.is_file() else path.resolve().name) if path.exists() else path.name
