"""Runs the config.py of the first ModelScope folders (2022), for those who trust it. mmcv is needed for its bases."""

import ast
import runpy
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from modelscope_beit.errors import ModelFolderError
from modelscope_beit.openmmlab.installed import require_mmcls
from modelscope_beit.settings.mm_layout import hub_layout

_BASE, _IMPORTS = "_base_", "custom_imports"


def run_mm_configuration(file: Path) -> dict[str, object]:
    """Runs a config.py and returns what it says, in the words of configuration.json.

    Its `model` becomes model.mm_model, its `data.test.pipeline` preprocessor.val, as in ModelScope's stock class, and
    its recipe `train`; see settings/mm_layout.py. What it inherits from other files (`_base_`) needs mmcv; so do the
    modules that it wants to be imported (`custom_imports`), which are passed over without it.
    This executes the file: ask for trust first. Raises ModelFolderError if it fails or has no model,
    MissingPackageError if mmcv is needed and not there.
    """
    values = _values(file)
    if not isinstance(values.get("model"), Mapping):
        raise ModelFolderError(f"{file} must set `model` to a mapping (type, backbone, neck, head).")
    return hub_layout({name: value for name, value in values.items() if not name.startswith("_")})


def _values(file: Path) -> Mapping[str, object]:
    assigned = _assigned_names(file)
    if _BASE in assigned or (_IMPORTS in assigned and find_spec("mmcls") is not None):
        require_mmcls(f"to read {file}, which inherits from other files ({_BASE})")
        # mmcv is an extra.
        from modelscope_beit.openmmlab.configuration import read_python_configuration

        return read_python_configuration(file)
    try:
        return runpy.run_path(str(file))
    except Exception as error:
        raise ModelFolderError(f"Running {file} failed: {type(error).__name__}: {error}") from error


def _assigned_names(file: Path) -> set[str]:
    """Returns the names that the file's own lines give a value to, without running it."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ModelFolderError(f"Running {file} failed: {type(error).__name__}: {error}") from error
    targets = [target for line in tree.body if isinstance(line, ast.Assign) for target in line.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}
