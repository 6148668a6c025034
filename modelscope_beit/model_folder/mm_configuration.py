"""Runs the config.py of the first ModelScope folders (2022), for those who trust it. No mmcv is needed."""

import runpy
from collections.abc import Mapping
from pathlib import Path

from modelscope_beit.errors import ModelFolderError
from modelscope_beit.settings.mm_layout import hub_layout


def run_mm_configuration(file: Path) -> dict[str, object]:
    """Runs a config.py and returns what it says, in the words of configuration.json.

    Its `model` becomes model.mm_model, its `data.test.pipeline` preprocessor.val, as in ModelScope's stock class, and
    its recipe `train`; see settings/mm_layout.py.
    This executes the file: ask for trust first. Raises ModelFolderError if it fails, inherits from other files
    (`_base_`), or has no model.
    """
    try:
        values = runpy.run_path(str(file))
    except Exception as error:
        raise ModelFolderError(f"Running {file} failed: {type(error).__name__}: {error}") from error
    if "_base_" in values:
        raise ModelFolderError(
            f"{file} inherits from {values['_base_']!r} (_base_), but only a config.py that is whole can be used; "
            "write the inherited values into it."
        )
    if not isinstance(values.get("model"), Mapping):
        raise ModelFolderError(f"{file} must set `model` to a mapping (type, backbone, neck, head).")
    return hub_layout({name: value for name, value in values.items() if not name.startswith("_")})
