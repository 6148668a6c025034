"""Configurations written in Python, read as mmcls's own scripts read them. Imported only where mmcv is."""

from pathlib import Path
from typing import Any

from mmcv import Config

from modelscope_beit.errors import ModelFolderError


def read_python_configuration(file: Path) -> dict[str, Any]:
    """Returns what a configuration says, with what it inherits (`_base_`), after importing its `custom_imports`.

    This executes the file, its bases and these modules: ask for trust first. Raises ModelFolderError if that fails.
    """
    try:
        content: dict[str, Any] = Config.fromfile(str(file))._cfg_dict.to_dict()
    except Exception as error:
        raise ModelFolderError(f"Running {file} failed: {type(error).__name__}: {error}") from error
    return content
