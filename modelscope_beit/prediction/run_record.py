"""What a run of predictions was begun with, kept beside its rows: who goes on with it has to do so with the same."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelscope_beit.errors import SettingsError
from modelscope_beit.names import CARD_FILE

_ENDING = ".run.json"


def record_path(rows: Path) -> Path:
    """Returns where the record of a file with rows is: beside it."""
    return rows.with_name(rows.name + _ENDING)


def find_records(folder: Path, rows: re.Pattern[str]) -> list[Path]:
    """Returns the records in a folder that are beside files with such names, or were; sorted."""
    return sorted(
        path for path in folder.iterdir() if path.name.endswith(_ENDING) and rows.fullmatch(path.name[: -len(_ENDING)])
    )


def write_record(rows: Path, settings: Mapping[str, Any]) -> None:
    """Writes what a run is begun with, at once or not at all."""
    path = record_path(rows)
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)


def read_record(rows: Path) -> dict[str, Any]:
    """Returns what a run was begun with; raises SettingsError if that is not known."""
    path = record_path(rows)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        content = None
    except ValueError as error:
        raise SettingsError(f"{path} cannot be read ({error}). Begin anew, without --resume.") from error
    if isinstance(content, dict):
        return content
    raise SettingsError(
        f"{rows} cannot be gone on with: {path}, which tells what it was begun with, is not there. Begin anew, without "
        "--resume."
    )


def check_record(rows: Path, settings: Mapping[str, Any]) -> None:
    """Raises SettingsError, naming all differences, unless a run was begun with these settings."""
    begun = read_record(rows)
    differences = [
        f"{name} was {begun.get(name)} and is {settings.get(name)}"
        for name in {**begun, **settings}
        if begun.get(name) != settings.get(name)
    ]
    if differences:
        raise SettingsError(
            f"{rows} was begun with other settings: {'; '.join(differences)}. Go on with the same ones, or begin anew, "
            "without --resume."
        )


def model_digest(model: Path) -> str:
    """Returns a digest of a model file, or of the files of a model folder that decide what it answers.

    Those are all of its first level but its card and hidden ones. Base takes a quarter of a second.
    """
    # It imports torch, which the help of beit predict does without.
    from modelscope_beit.checkpoints.files import file_digest

    if model.is_file():
        return file_digest(model)
    files = [path for path in sorted(model.iterdir()) if path.is_file()]
    deciding = [path for path in files if not path.name.startswith(".") and path.name != CARD_FILE]
    told = "".join(f"{path.name} {file_digest(path)}\n" for path in deciding)
    return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"
