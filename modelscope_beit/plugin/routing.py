"""Decides who serves a model folder: our classes, or the stock ones of ModelScope (and, behind them, mmcls)."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from modelscope_beit import names
from modelscope_beit.settings.mm_model import is_native
from modelscope_beit.settings.preprocessing import Step

_NATIVE_STEPS = frozenset(step.__name__ for step in get_args(Step))


def is_ours(model_folder: str | Path) -> bool:
    """Tells whether our classes serve a folder.

    False: the model is no ClassificationModel; or mmcls is installed, and network or preprocessing are of a type that
    only mmcls knows. A folder whose configuration.json cannot be read is ours: opening it says what is wrong with it.
    """
    file = Path(model_folder) / names.CONFIGURATION_FILE
    try:
        configuration = json.loads(file.read_text(encoding="utf-8"))
        model = configuration["model"]
        kind = model.get("type", model.get("model_type"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return True
    if kind != names.MODEL:
        return False
    needs_mmcls = _is_foreign_network(model.get("mm_model")) or _has_foreign_step(configuration.get("preprocessor"))
    return not needs_mmcls or find_spec("mmcls") is None


def _is_foreign_network(mm_model: object) -> bool:
    return isinstance(mm_model, Mapping) and not is_native(mm_model)


def _has_foreign_step(preprocessor: object) -> bool:
    steps = preprocessor.get("val") if isinstance(preprocessor, Mapping) else None
    kinds = [step.get("type") for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []
    return any(kind not in _NATIVE_STEPS for kind in kinds)
