"""From what a person writes where a model is asked for, to a folder on this machine. Never touches the network."""

import re
from importlib import resources
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.errors import ModelFolderError

EMBEDDED = "embedded"
# Owner and name, one slash: no local path with a leading dot, slash, tilde or drive letter looks like it.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

# A file of weights, of an export or of settings; names of hub models have points too, before numbers.
_FILE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".npz", ".onnx", ".xml", ".json", ".py")


def find_model_folder(model: str | Path | None = None) -> Path:
    """Returns the folder of a model.

    model: a folder; the word "embedded" or None for the small network that comes with the package.
    Raises ModelFolderError if there is no such folder, saying how to get one.
    """
    if model is None or (model == EMBEDDED and not Path(model).is_dir()):
        return Path(str(resources.files("modelscope_beit"))) / EMBEDDED
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    raise ModelFolderError(_what_to_do(str(model), folder))


def looks_like_hub_id(model: str | Path) -> bool:
    """Tells whether a text is an "owner/name" that means nothing here: neither it nor a folder "owner" exists.

    So that a path with a mistake in it is told at once, and not after the hub was asked for it.
    """
    if not isinstance(model, str) or not _HUB_ID.fullmatch(model) or Path(model).exists():
        return False
    return model in (names.HUB_BASE, names.HUB_LARGE) or _why_a_path(model) is None


def _why_a_path(model: str) -> str | None:
    """Returns why an "owner/name" that does not exist is meant as a path here; None if nothing says so."""
    path = Path(model)
    if path.suffix.lower() in _FILE_SUFFIXES:
        return f"files are named *{path.suffix}"
    return f"there is a folder {path.parent}" if path.parent.is_dir() else None


def _what_to_do(model: str, folder: Path) -> str:
    if folder.is_file():
        return (
            f"{folder} is a file, but a model folder (with {names.CONFIGURATION_FILE}) is expected; make one of a "
            f"weight file with: {names.COMMAND} convert {folder} FOLDER"
        )
    if looks_like_hub_id(model):
        return (
            f"There is no folder {model} here. If it is an id of the ModelScope hub, download it first "
            f"(modelscope download --model {model} --local_dir FOLDER) and give that folder."
        )
    if _HUB_ID.fullmatch(model) and (why := _why_a_path(model)) is not None:
        return (
            f"There is no {model} in {Path.cwd()}. The hub was not asked for it, because {why}. If it is an id of the "
            f"ModelScope hub, download it first (modelscope download --model {model} --local_dir FOLDER) and give that "
            "folder."
        )
    return (
        f"There is no model folder {folder} (looked in {Path.cwd()}). Give a folder with {names.CONFIGURATION_FILE}, "
        f'the id of a hub model such as {names.HUB_BASE}, or "{EMBEDDED}" for the network that comes with the package.'
    )
