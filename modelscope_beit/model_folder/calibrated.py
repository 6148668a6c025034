"""Stores in a model folder how the scores of its network are to be read."""

import json
import shutil
from pathlib import Path
from typing import Any

from modelscope_beit import names
from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.errors import ModelFolderError
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.model_folder.writing import check_target, written_as_a_whole
from modelscope_beit.settings.confidence import CONFIDENCE, Confidence, write_confidence
from modelscope_beit.settings.configuration import read_configuration


def check_can_be_calibrated(folder: Path) -> None:
    """Raises ModelFolderError unless the folder's configuration is JSON. Call it before long work."""
    code = folder / names.MM_CONFIGURATION_FILE
    if code.exists():
        raise ModelFolderError(
            f"{code} goes before {names.CONFIGURATION_FILE}, and a temperature cannot be stored in Python code. Make a "
            f"folder without it first: {names.COMMAND} convert {folder} FOLDER --trust-remote-code"
        )
    read_folder_settings(folder)


def store_confidence(folder: Path, confidence: Confidence) -> None:
    """Writes it into configuration.json, in place of an earlier one; everything else there stays.

    The file is replaced as a whole, so that the earlier one stays readable until the new one is on the disk.
    Raises ModelFolderError as check_can_be_calibrated does, CheckpointError if the disk refuses.
    """
    check_can_be_calibrated(folder)
    file = folder / names.CONFIGURATION_FILE
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    content[CONFIDENCE] = write_confidence(confidence)
    # Whatever is written can be read.
    assert read_configuration(content, str(file)).confidence == confidence, "what is stored is what was given"
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(file, lambda beside: beside.write_text(text, encoding="utf-8"))


def copy_with_confidence(folder: Path, target: Path, confidence: Confidence) -> Path:
    """Writes a copy of a model folder that is calibrated, and returns its path; the folder itself stays as it is.

    Raises ModelFolderError if the target is not a new or an empty folder.
    """
    target = target.expanduser().absolute()
    check_target(target, overwrite=False)
    with written_as_a_whole(target) as unfinished:
        shutil.copytree(folder, unfinished, dirs_exist_ok=True)
        store_confidence(unfinished, confidence)
    return target
