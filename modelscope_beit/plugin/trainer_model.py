"""What a script gives a trainer as its model: a hub id, a folder, or a model in memory."""

import functools
import os
from pathlib import Path
from typing import Any

from modelscope_beit.errors import SettingsError
from modelscope_beit.plugin.hub import download_model
from modelscope_beit.plugin.model import ClassificationModel
from modelscope_beit.settings.problems import shown

# A trainer asks twice: for its kind, and when it is made.
_download = functools.cache(download_model)


def model_folder(model: Any, cfg_file: str | None, revision: str | None) -> Path:
    """Returns the folder of a model; only a hub id is looked up at the hub, and downloaded if need be.

    The host's own get_or_download_model_dir asks the hub about local folders, too.
    """
    if isinstance(model, str | os.PathLike):
        path = Path(model).expanduser()
        if path.exists():
            return path if path.is_dir() else path.parent
        return _download(str(model), revision=revision)
    if cfg_file is not None:
        return Path(cfg_file).absolute().parent
    if isinstance(model, ClassificationModel):
        return Path(model.model_dir)
    raise SettingsError(
        f"model is {shown(model)}; a hub id, a model folder or a ClassificationModel is expected, or else cfg_file."
    )


def given_classifier(model: Any) -> ClassificationModel | None:
    """Returns a model that was given as an object; SettingsError for one whose weights nobody here could use."""
    if model is None or isinstance(model, str | os.PathLike | ClassificationModel):
        return model if isinstance(model, ClassificationModel) else None
    raise SettingsError(
        f"model is a {type(model).__name__}; a hub id, a model folder or a ClassificationModel is expected. The stock "
        "trainer would leave the object out and build the network of cfg_file; give only cfg_file for that."
    )
